// Device intrinsics as calls into the emulation.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>

#include "../simt/block.h"
#include "../simt/registry.h"
#include "../simt/tensor_core.h"

namespace nibble::cuda {

#define NIBBLE_FOR_TURING 1
#define NIBBLE_FOR_AMPERE 1

#define NIBBLE_KERNEL(name, Arguments, threads, body)                                                               \
    namespace {                                                                                                     \
    const ::nibble::simt::Registration name##_registration{                                                         \
        {#name, sizeof(Arguments), threads, [](const void* args) { body(*static_cast<const Arguments*>(args)); }}}; \
    }

inline uint32_t thread_index() {
    return simt::Block::current().thread_index();
}
inline uint32_t block_index(int axis) {
    return simt::Block::current().block_index(axis);
}
inline uint32_t grid_size(int axis) {
    return simt::Block::current().grid_size(axis);
}
inline void block_barrier() {
    simt::Block::current().block_barrier();
}
inline void warp_barrier() {
    simt::Block::current().warp_barrier();
}

inline float bits_to_float(uint32_t bits) {
    return std::bit_cast<float>(bits);
}
inline uint32_t float_to_bits(float value) {
    return std::bit_cast<uint32_t>(value);
}

inline float to_float(float value) {
    return value;
}
inline float to_float(bf16 value) {
    return bits_to_float(static_cast<uint32_t>(value.bits) << 16);
}
inline float to_float(f16 value) {
    return static_cast<float>(std::bit_cast<_Float16>(value.bits));
}

template <typename T>
T from_float(float value);

template <>
inline float from_float<float>(float value) {
    return value;
}
template <>
inline f16 from_float<f16>(float value) {
    return {std::bit_cast<uint16_t>(static_cast<_Float16>(value))};
}
template <>
inline bf16 from_float<bf16>(float value) {
    const uint32_t bits = float_to_bits(value);
    const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
    return {static_cast<uint16_t>(value == value ? rounded : 0x7FFFU)};
}

template <typename T>
uint32_t pack_pair(float first, float second) {
    return from_float<T>(first).bits | static_cast<uint32_t>(from_float<T>(second).bits) << 16;
}

inline float fused_multiply_add(float a, float b, float c) {
    return std::fma(a, b, c);
}
inline float exp2_of(float x) {
    return std::exp2(x);
}
inline float log2_of(float x) {
    return std::log2(x);
}
inline float sqrt_of(float x) {
    return std::sqrt(x);
}
inline float absolute(float x) {
    return std::fabs(x);
}
inline uint32_t multiply_high(uint32_t a, uint32_t b) {
    return static_cast<uint32_t>((static_cast<uint64_t>(a) * b) >> 32);
}

inline float shuffle_xor(float value, int mask) {
    struct Input {
        float value;
        int mask;
    } input{value, mask};
    float result = 0.0F;
    simt::Block::current().warp_operation(
        [](const std::array<simt::LaneOperands, simt::kWarpSize>& lanes) {
            for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
                const auto other = lane ^ static_cast<std::size_t>(static_cast<const Input*>(lanes[lane].input)->mask);
                *static_cast<float*>(lanes[lane].output) = static_cast<const Input*>(lanes[other].input)->value;
            }
        },
        &input, &result);
    return result;
}

// An element of shared memory: reading and writing it are told apart.
template <typename T>
class SharedElement {
  public:
    explicit SharedElement(std::size_t offset) : offset_(offset) {}

    operator T() const {  // NOLINT: stands for the element.
        T value;
        std::memcpy(&value, simt::Block::current().read_shared(offset_, sizeof(T)), sizeof(T));
        return value;
    }
    void operator=(const T& value) const {
        std::memcpy(simt::Block::current().write_shared(offset_, sizeof(T)), &value, sizeof(T));
    }
    void operator+=(const T& value) const { *this = static_cast<T>(*this) + value; }

  private:
    std::size_t offset_;
};

template <typename T>
struct Shared {
    std::size_t offset;

    SharedElement<T> operator[](int index) const { return SharedElement<T>(at(index)); }
    Shared from(int index) const { return {at(index)}; }
    template <typename Vector>
    Vector load(int index) const {
        return SharedElement<Vector>(at(index));
    }
    template <typename Vector>
    void store(int index, const Vector& value) const {
        SharedElement<Vector>(at(index)) = value;
    }
    std::size_t at(int index) const { return offset + static_cast<std::size_t>(index) * sizeof(T); }
};

template <typename T>
Shared<T> shared_memory(int byte_offset) {
    return {static_cast<std::size_t>(byte_offset)};
}

template <typename T, typename U>
void copy_async(Shared<T> destination, Global<const U> source, int64_t index, bool present) {
    simt::Block& block = simt::Block::current();
    Words4 value{};
    if (present) {
        value = source.template load<Words4>(index);
    }
    if (block.compute_capability() >= 80) {
        block.copy_async(destination.offset, &value);
    } else {
        destination.store(0, value);
    }
}
inline void copy_async_commit() {
    simt::Block::current().commit_copies();
}
template <int kGroupsLeft>
void copy_async_wait() {
    simt::Block::current().wait_copies(kGroupsLeft);
}

template <typename T>
void load_matrix(uint32_t (&matrix)[4], Shared<T> row) {
    simt::load_matrix(matrix, row.offset, false);
}
template <typename T>
void load_matrix_turned(uint32_t (&matrix)[4], Shared<T> row) {
    simt::load_matrix(matrix, row.offset, true);
}

template <typename T>
void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    simt::Block& block = simt::Block::current();
    if (block.compute_capability() >= 80) {
        return simt::multiply<16>(d, a, b, std::is_same_v<T, bf16>);
    }
    block.require(!std::is_same_v<T, bf16>, "multiplies bfloat16 on tensor cores that have none");
    for (int half = 0; half < 2; ++half) {
        const uint32_t half_a[4] = {a[2 * half], a[2 * half + 1], 0, 0};
        const uint32_t half_b[2] = {b[half], 0};
        simt::multiply<8>(d, half_a, half_b, false);
    }
}

}  // namespace nibble::cuda
