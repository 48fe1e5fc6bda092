// y = x * deq(W)^T for up to four rows of x: reading the weights is all the work, and the ordinary cores do the rest. A
// warp makes four outputs of every row; a lane decodes 32 neighbours of a weight's row, half a block, from 16 bytes.
#include "decode.h"
#include "nf4_tables.h"
#include "tensor_product.h"

namespace nibble::cuda {

// Rows of x are kept in pieces of 16 bytes, of which a lane reads every fourth, or of float32 every eighth: moved so
// that eight lanes at a time find theirs in different banks.
NIBBLE_DEVICE int few_place(int piece) {
    return piece ^ ((piece >> 3) & 7);
}

template <typename T, int kRows>
NIBBLE_DEVICE void nf4_few(const TensorLinearArguments<T>& args) {
    constexpr int kPiece = 16 / static_cast<int>(sizeof(T));
    constexpr int kPieces = kFewDepth / kPiece;
    const WeightView& weight = args.weight;
    const int64_t k = weight.cols;
    const Shared<T> x = shared_memory<T>(kCodesBytes + kMapBytes);
    const Nf4Tables tables;
    tables.fill<kFewThreads>();

    const int64_t first = block_index(2) * args.depth_of_split;
    const int64_t end = min_of(first + args.depth_of_split, k);
    const int64_t output = static_cast<int64_t>(block_index(0)) * kFewOutputs + warp_index() * kFewOutputsOfWarp;
    float sums[kFewOutputsOfWarp][kRows] = {};
    for (int64_t depth = first; depth < end; depth += kFewDepth) {
        block_barrier();
        for (int e = static_cast<int>(thread_index()); e < kRows * kPieces; e += kFewThreads) {
            const int r = e / kPieces;
            const int piece = e % kPieces;
            const int64_t d = depth + piece * kPiece;
            Words4 values{};
            if (d < end && r < args.m) {
                values = args.in.template load<Words4>(r * k + d);
            }
            x.template store<Words4>(r * kFewDepth + few_place(piece) * kPiece, values);
        }
        block_barrier();
        const int64_t d = depth + 32 * lane_index();
        if (d >= end) {
            continue;
        }
        // All weights are asked for before the first is waited for, and x is read once for the four outputs.
        Words4 bytes[kFewOutputsOfWarp] = {};
        float scales[kFewOutputsOfWarp] = {};
        NIBBLE_UNROLL
        for (int o = 0; o < kFewOutputsOfWarp; ++o) {
            if (output + o < args.row_count) {
                const int64_t element = (args.first_row + output + o) * k + d;
                bytes[o] = weight.data.template load<Words4>(element / 2);
                scales[o] = block_scale(weight, tables.map, element / kNf4Block);
            }
        }
        float part[kFewOutputsOfWarp][kRows] = {};
        NIBBLE_UNROLL
        for (int word = 0; word < 4; ++word) {
            float codes[kFewOutputsOfWarp][8];
            NIBBLE_UNROLL
            for (int o = 0; o < kFewOutputsOfWarp; ++o) {
                NIBBLE_UNROLL
                for (int i = 0; i < 8; ++i) {
                    // The high nibble of each byte comes first.
                    codes[o][i] = tables.code(bytes[o].word[word], i % 2 == 0 ? 4 * i + 4 : 4 * i - 4);
                }
            }
            NIBBLE_UNROLL
            for (int r = 0; r < kRows; ++r) {
                NIBBLE_UNROLL
                for (int p = 0; p < 8 / kPiece; ++p) {
                    const int piece = (32 * lane_index() + 8 * word) / kPiece + p;
                    float values[kPiece];
                    unpack<T>(x.template load<Words4>(r * kFewDepth + few_place(piece) * kPiece), values);
                    NIBBLE_UNROLL
                    for (int o = 0; o < kFewOutputsOfWarp; ++o) {
                        NIBBLE_UNROLL
                        for (int i = 0; i < kPiece; ++i) {
                            part[o][r] = fused_multiply_add(values[i], codes[o][p * kPiece + i], part[o][r]);
                        }
                    }
                }
            }
        }
        NIBBLE_UNROLL
        for (int o = 0; o < kFewOutputsOfWarp; ++o) {
            NIBBLE_UNROLL
            for (int r = 0; r < kRows; ++r) {
                sums[o][r] = fused_multiply_add(part[o][r], scales[o], sums[o][r]);
            }
        }
    }

    const int64_t rank = block_index(2) == 0 ? args.adapter.rank : 0;
    NIBBLE_UNROLL
    for (int o = 0; o < kFewOutputsOfWarp; ++o) {
        const int64_t n = output + o;
        NIBBLE_UNROLL
        for (int r = 0; r < kRows; ++r) {
            float sum = sums[o][r];
            if (n < args.row_count && r < args.m) {
                for (int64_t d = lane_index(); d < rank; d += kWarp) {
                    sum += args.adapter.scale * args.hidden[r * rank + d] * args.adapter.b[n * rank + d];
                }
            }
            sum = warp_sum(sum);
            if (n < args.row_count && r < args.m && lane_index() == 0) {
                float value[1] = {sum};
                store_run(args, r, n, args.row_count, value);
            }
        }
    }
}

template <typename T>
NIBBLE_DEVICE void few_1(const TensorLinearArguments<T>& args) {
    nf4_few<T, 1>(args);
}
template <typename T>
NIBBLE_DEVICE void few_2(const TensorLinearArguments<T>& args) {
    nf4_few<T, 2>(args);
}
template <typename T>
NIBBLE_DEVICE void few_4(const TensorLinearArguments<T>& args) {
    nf4_few<T, 4>(args);
}

NIBBLE_KERNEL(nf4_few_1_f32, TensorLinearArguments<float>, kFewThreads, few_1)
NIBBLE_KERNEL(nf4_few_1_bf16, TensorLinearArguments<bf16>, kFewThreads, few_1)
NIBBLE_KERNEL(nf4_few_1_f16, TensorLinearArguments<f16>, kFewThreads, few_1)
NIBBLE_KERNEL(nf4_few_2_f32, TensorLinearArguments<float>, kFewThreads, few_2)
NIBBLE_KERNEL(nf4_few_2_bf16, TensorLinearArguments<bf16>, kFewThreads, few_2)
NIBBLE_KERNEL(nf4_few_2_f16, TensorLinearArguments<f16>, kFewThreads, few_2)
NIBBLE_KERNEL(nf4_few_4_f32, TensorLinearArguments<float>, kFewThreads, few_4)
NIBBLE_KERNEL(nf4_few_4_bf16, TensorLinearArguments<bf16>, kFewThreads, few_4)
NIBBLE_KERNEL(nf4_few_4_f16, TensorLinearArguments<f16>, kFewThreads, few_4)

}  // namespace nibble::cuda
