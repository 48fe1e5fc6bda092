// Device intrinsics as PTX.
#pragma once

namespace nibble::cuda {

// Whether the image is for chips from Ampere on, with bfloat16 on tensor cores and copies in the background. The driver
// translates every kernel of an image, so that one which no chip of the image runs would cost each start some time.
#define NIBBLE_FOR_AMPERE (__CUDA_ARCH__ >= 800)
#define NIBBLE_FOR_TURING (__CUDA_ARCH__ < 800)

#define NIBBLE_KERNEL(name, Arguments, threads, body)                                                      \
    extern "C" __attribute__((global)) __attribute__((launch_bounds(threads))) void name(Arguments args) { \
        body(args);                                                                                        \
    }

// A special register. Clang takes inline assembly for something that threads may have to do together, and leaves it in
// the loop where it is written; what its builtins tell, it takes out of loops with all that depends on it.
#if defined(__clang__)
#define NIBBLE_SPECIAL_REGISTER(value, name, axis) \
    const auto value = static_cast<uint32_t>(__nvvm_read_ptx_sreg_##name##_##axis())
#else
#define NIBBLE_SPECIAL_REGISTER(value, name, axis) \
    uint32_t value;                                \
    asm("mov.u32 %0, %%" #name "." #axis ";" : "=r"(value))
#endif

NIBBLE_DEVICE uint32_t thread_index() {
    NIBBLE_SPECIAL_REGISTER(index, tid, x);
    return index;
}

// Axis 0, 1 or 2, known when compiled.
NIBBLE_DEVICE uint32_t block_index(int axis) {
    NIBBLE_SPECIAL_REGISTER(x, ctaid, x);
    NIBBLE_SPECIAL_REGISTER(y, ctaid, y);
    NIBBLE_SPECIAL_REGISTER(z, ctaid, z);
    return axis == 0 ? x : axis == 1 ? y : z;
}

NIBBLE_DEVICE uint32_t grid_size(int axis) {
    NIBBLE_SPECIAL_REGISTER(x, nctaid, x);
    NIBBLE_SPECIAL_REGISTER(y, nctaid, y);
    NIBBLE_SPECIAL_REGISTER(z, nctaid, z);
    return axis == 0 ? x : axis == 1 ? y : z;
}

NIBBLE_DEVICE void block_barrier() {
    asm volatile("bar.sync 0;" ::: "memory");
}
NIBBLE_DEVICE void warp_barrier() {
    asm volatile("bar.warp.sync 0xffffffff;" ::: "memory");
}

// ---- conversions --------------------------------------------------------------------------------------------------

NIBBLE_DEVICE float bits_to_float(uint32_t bits) {
    return __builtin_bit_cast(float, bits);
}
NIBBLE_DEVICE uint32_t float_to_bits(float value) {
    return __builtin_bit_cast(uint32_t, value);
}

NIBBLE_DEVICE float to_float(float value) {
    return value;
}
NIBBLE_DEVICE float to_float(bf16 value) {
    return bits_to_float(static_cast<uint32_t>(value.bits) << 16);
}
NIBBLE_DEVICE float to_float(f16 value) {
    float result;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
    return result;
}

template <typename T>
NIBBLE_DEVICE T from_float(float value);

template <>
NIBBLE_DEVICE float from_float<float>(float value) {
    return value;
}
template <>
NIBBLE_DEVICE f16 from_float<f16>(float value) {
    f16 result;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
    return result;
}
template <>
NIBBLE_DEVICE bf16 from_float<bf16>(float value) {
    bf16 result;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(value));
#else
    const uint32_t bits = float_to_bits(value);
    const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
    result.bits = static_cast<uint16_t>(value == value ? rounded : (bits >> 16) | 0x40U);
#endif
    return result;
}

// Two neighbours in one register, the first in the lower half.
template <typename T>
NIBBLE_DEVICE uint32_t pack_pair(float first, float second) {
    if constexpr (sizeof(T) == 2) {
        uint32_t pair;
#if __CUDA_ARCH__ >= 800
        if constexpr (__is_same(T, bf16)) {
            asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
            return pair;
        }
#endif
        pair = from_float<T>(first).bits | static_cast<uint32_t>(from_float<T>(second).bits) << 16;
        return pair;
    }
}

// ---- arithmetic ---------------------------------------------------------------------------------------------------

NIBBLE_DEVICE float fused_multiply_add(float a, float b, float c) {
    return __builtin_fmaf(a, b, c);
}
NIBBLE_DEVICE float exp2_of(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}
NIBBLE_DEVICE float log2_of(float x) {
    float result;
    asm("lg2.approx.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}
NIBBLE_DEVICE float sqrt_of(float x) {
    float result;
    asm("sqrt.rn.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
}
NIBBLE_DEVICE float absolute(float x) {
    return bits_to_float(float_to_bits(x) & 0x7FFFFFFFU);
}
NIBBLE_DEVICE uint32_t multiply_high(uint32_t a, uint32_t b) {
    return static_cast<uint32_t>((static_cast<uint64_t>(a) * b) >> 32);
}

// ---- warps --------------------------------------------------------------------------------------------------------

NIBBLE_DEVICE float shuffle_xor(float value, int mask) {
    uint32_t result;
    asm volatile("shfl.sync.bfly.b32 %0, %1, %2, 0x1f, 0xffffffff;"
                 : "=r"(result)
                 : "r"(float_to_bits(value)), "r"(mask));
    return bits_to_float(result);
}

// ---- shared memory ------------------------------------------------------------------------------------------------

extern "C" __attribute__((shared)) Words4 nibble_shared_memory[];

// An array in the block's dynamic shared memory.
template <typename T>
struct Shared {
    T* data;

    NIBBLE_DEVICE T& operator[](int index) const { return data[index]; }
    NIBBLE_DEVICE Shared from(int index) const { return {data + index}; }
    template <typename Vector>
    NIBBLE_DEVICE Vector load(int index) const {
        return *reinterpret_cast<const Vector*>(data + index);
    }
    template <typename Vector>
    NIBBLE_DEVICE void store(int index, const Vector& value) const {
        *reinterpret_cast<Vector*>(data + index) = value;
    }
    // As instructions that read shared memory alone want it.
    NIBBLE_DEVICE uint32_t address() const {
#if defined(__clang__)
        return static_cast<uint32_t>(reinterpret_cast<uintptr_t>((__attribute__((address_space(3))) T*)data));
#else
        uint64_t wide;
        asm("cvta.to.shared.u64 %0, %1;" : "=l"(wide) : "l"(data));
        return static_cast<uint32_t>(wide);
#endif
    }
};

template <typename T>
NIBBLE_DEVICE Shared<T> shared_memory(int byte_offset) {
    return {reinterpret_cast<T*>(reinterpret_cast<unsigned char*>(nibble_shared_memory) + byte_offset)};
}

// 16 bytes from global to shared memory, or zeros where `present` is false, in the background; Turing waits for them.
template <typename T, typename U>
NIBBLE_DEVICE void copy_async(Shared<T> destination, Global<const U> source, int64_t index, bool present) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(destination.address()),
                 "l"(source.data + (present ? index : 0)), "r"(present ? 16 : 0)
                 : "memory");
#else
    Words4 value{};
    if (present) {
        value = source.template load<Words4>(index);
    }
    destination.store(0, value);
#endif
}
NIBBLE_DEVICE void copy_async_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
// Until at most `kGroupsLeft` of this thread's newest groups are under way.
template <int kGroupsLeft>
NIBBLE_DEVICE void copy_async_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(kGroupsLeft) : "memory");
#endif
}

// ---- tensor cores -------------------------------------------------------------------------------------------------

// Four 8 x 8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
template <typename T>
NIBBLE_DEVICE void load_matrix(uint32_t (&matrix)[4], Shared<T> row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrix[0]), "=r"(matrix[1]), "=r"(matrix[2]), "=r"(matrix[3])
                 : "r"(row.address())
                 : "memory");
}

// The same, with each matrix turned.
template <typename T>
NIBBLE_DEVICE void load_matrix_turned(uint32_t (&matrix)[4], Shared<T> row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrix[0]), "=r"(matrix[1]), "=r"(matrix[2]), "=r"(matrix[3])
                 : "r"(row.address())
                 : "memory");
}

// d[16, 8] += a[16, 16] * b[16, 8]; the fragments' layouts are those of the PTX manual. Turing multiplies float16 in
// two halves of the depth, and has no bfloat16. Not volatile: the result depends on the operands alone, and the
// compiler may keep what it has read from memory.
template <typename T>
NIBBLE_DEVICE void multiply_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    if constexpr (__is_same(T, bf16)) {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    } else {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
            "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
#else
    NIBBLE_UNROLL
    for (int half = 0; half < 2; ++half) {
        asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
    }
#endif
}

}  // namespace nibble::cuda
