#include "tensor_core.h"

#include <bit>
#include <cstring>

#include "block.h"

namespace nibble::simt {

namespace {

using Lanes = std::array<LaneOperands, kWarpSize>;

struct MultiplyInput {
    const uint32_t* a;
    const uint32_t* b;
};

float element(uint32_t pair, int index, bool is_bf16) {
    const auto bits = static_cast<uint16_t>(pair >> (16 * index));
    return is_bf16 ? std::bit_cast<float>(static_cast<uint32_t>(bits) << 16)
                   : static_cast<float>(std::bit_cast<_Float16>(bits));
}

template <int K, bool kBf16>
void multiply_warp(const Lanes& lanes) {
    float a[16][K];
    float b[K][8];
    for (int lane = 0; lane < kWarpSize; ++lane) {
        const int g = lane / 4;
        const int t = lane % 4;
        const auto& input = *static_cast<const MultiplyInput*>(lanes[static_cast<std::size_t>(lane)].input);
        for (int half = 0; half < K / 8; ++half) {
            for (int i = 0; i < 2; ++i) {
                const int k = 8 * half + 2 * t + i;
                a[g][k] = element(input.a[2 * half], i, kBf16);
                a[g + 8][k] = element(input.a[2 * half + 1], i, kBf16);
                b[k][g] = element(input.b[half], i, kBf16);
            }
        }
    }
    for (int lane = 0; lane < kWarpSize; ++lane) {
        auto* d = static_cast<float*>(lanes[static_cast<std::size_t>(lane)].output);
        for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + 8 * (i / 2);
            const int column = 2 * (lane % 4) + i % 2;
            float sum = 0.0F;
            for (int k = 0; k < K; ++k) {
                sum += a[row][k] * b[k][column];
            }
            d[i] += sum;
        }
    }
}

using Row = std::array<uint16_t, 8>;

template <bool kTurned>
void give_matrices(const Lanes& lanes) {
    for (std::size_t lane = 0; lane < lanes.size(); ++lane) {
        const std::size_t g = lane / 4;
        const std::size_t t = lane % 4;
        for (std::size_t m = 0; m < 4; ++m) {
            const auto element = [&](std::size_t row, std::size_t column) -> uint32_t {
                return (*static_cast<const Row*>(lanes[8 * m + row].input))[column];
            };
            static_cast<uint32_t*>(lanes[lane].output)[m] = kTurned ? element(2 * t, g) | element(2 * t + 1, g) << 16
                                                                    : element(g, 2 * t) | element(g, 2 * t + 1) << 16;
        }
    }
}

}  // namespace

void load_matrix(uint32_t (&matrix)[4], std::size_t row_offset, bool turned) {
    Row row;
    std::memcpy(row.data(), Block::current().read_shared(row_offset, sizeof(row)), sizeof(row));
    Block::current().warp_operation(turned ? &give_matrices<true> : &give_matrices<false>, row.data(), matrix);
}

template <int K>
void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], bool is_bf16) {
    const MultiplyInput input{a, b};
    Block::current().warp_operation(is_bf16 ? &multiply_warp<K, true> : &multiply_warp<K, false>, &input, d);
}

template void multiply<16>(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2], bool);
template void multiply<8>(float (&)[4], const uint32_t (&)[4], const uint32_t (&)[2], bool);

}  // namespace nibble::simt
