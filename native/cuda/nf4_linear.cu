// y = x * deq(W)^T over NF4 weights. Few rows go over the ordinary cores, since reading the weights is all the work;
// more go over the tensor cores, with weights decoded in registers on the way from shared memory to the product.
#include "nf4_linear.h"

#include "nf4_pipeline.h"

namespace nibble::cuda {

// ---- tensor cores --------------------------------------------------------------------------------------------------
// Within a block of 64 the order of the depth is free as long as both operands agree. Lane t of a group of four takes
// the eight neighbours 8t .. 8t + 7 of each half: as weights those are four bytes, which is what ldmatrix gives a lane;
// as activations they are 16 bytes of a row.

template <typename Tile>
struct ForwardFragments {
    uint32_t packed[Tile::kFragmentsN / 2][4];

    NIBBLE_DEVICE void load(const Stage<Tile>& stage, int column) {
        const int lane = lane_index();
        const int matrix = lane / 8;
        NIBBLE_UNROLL
        for (int pair = 0; pair < Tile::kFragmentsN / 2; ++pair) {
            const int row = column + 16 * pair + matrix / 2 * 8 + lane % 8;
            load_matrix(packed[pair], stage.weights.from(forward_weight_offset(row, matrix % 2)));
        }
    }

    // Fragment `j` of the step-th quarter of the depth.
    template <typename T>
    NIBBLE_DEVICE void decode(Shared<float> codes, const Stage<Tile>& stage, int column, int step, int j,
                              uint32_t (&b)[2]) const {
        const float scale = stage.scales[column + 8 * j + lane_index() / 4];
        const uint32_t word = packed[j / 2][2 * (j % 2) + step / 2] >> (16 * (step % 2));
        NIBBLE_UNROLL
        for (int i = 0; i < 2; ++i) {
            const uint32_t byte = word >> (8 * i);
            b[i] = pack_pair<T>(code_of(codes, byte >> 4) * scale, code_of(codes, byte) * scale);
        }
    }
};

template <typename T, typename Tile>
NIBBLE_DEVICE void nf4_forward(const Nf4ProductArguments<T>& args) {
    const WeightView& weight = args.weight;
    const int64_t row = static_cast<int64_t>(block_index(1)) * Tile::kRows;
    const int64_t column = static_cast<int64_t>(block_index(0)) * Tile::kColumns;
    const int warp_row = warp_index() / Tile::kWarpsN * Tile::kFragmentsM * 16;
    const int warp_column = warp_index() % Tile::kWarpsN * Tile::kFragmentsN * 8;
    const int group = lane_index() / 4;
    const int quarter = lane_index() % 4;
    Sums<Tile> sums;

    // The adapter is `rank` more of the depth.
    if (args.adapter.rank > 0 && block_index(2) == 0) {
        sums.template add_dense<T>(
            args.adapter.rank,
            [&](int r, int64_t d) NIBBLE_INLINE {
                return row + warp_row + r < args.m
                           ? args.hidden[(row + warp_row + r) * args.adapter.rank + d] * args.adapter.scale
                           : 0.0F;
            },
            [&](int j, int64_t d) NIBBLE_INLINE {
                const int64_t n = column + warp_column + 8 * j + group;
                return n < weight.rows ? args.adapter.b[n * args.adapter.rank + d] : 0.0F;
            });
    }

    Pipeline<T, Tile> pipeline(args.in, args.m, row, weight.cols);
    const int64_t blocks = weight.cols / kNf4Block;
    pipeline.run(
        block_index(2) * args.depth_of_split, min_of((block_index(2) + 1) * args.depth_of_split, weight.cols),
        [&](const Stage<Tile>& stage, int64_t depth) NIBBLE_INLINE {
            for (int e = static_cast<int>(thread_index()); e < 2 * Tile::kColumns; e += Tile::kThreads) {
                const int n = e / 2;
                copy_async(stage.weights.from(forward_weight_offset(n, e % 2)), weight.data,
                           ((column + n) * weight.cols + depth) / 2 + 16 * (e % 2), column + n < weight.rows);
            }
        },
        [&](int n, int64_t depth) NIBBLE_INLINE {
            return column + n < weight.rows
                       ? block_scale(weight, pipeline.map, (column + n) * blocks + depth / kNf4Block)
                       : 0.0F;
        },
        [&](const Stage<Tile>& stage) NIBBLE_INLINE {
            ForwardFragments<Tile> fragments;
            fragments.load(stage, warp_column);
            sums.template add<T>(stage, warp_row, [&](int step, int j, uint32_t(&b)[2]) NIBBLE_INLINE {
                fragments.template decode<T>(pipeline.codes, stage, warp_column, step, j, b);
            });
        });

    NIBBLE_UNROLL
    for (int i = 0; i < Tile::kFragmentsM; ++i) {
        NIBBLE_UNROLL
        for (int half = 0; half < 2; ++half) {
            const int64_t r = row + warp_row + 16 * i + 8 * half + group;
            NIBBLE_UNROLL
            for (int j = 0; j < Tile::kFragmentsN; ++j) {
                NIBBLE_UNROLL
                for (int e = 0; e < 2; ++e) {
                    const int64_t c = column + warp_column + 8 * j + 2 * quarter + e;
                    if (r < args.m && c < weight.rows) {
                        store(args, r, c, weight.rows, sums.value[i][j][2 * half + e]);
                    }
                }
            }
        }
    }
}

// ---- few rows ------------------------------------------------------------------------------------------------------
// A warp makes four outputs of every row; a lane decodes 32 neighbours of a weight's row, half a block, from 16 bytes.

// Rows of x are kept in pieces of 16 bytes, of which a lane reads every fourth: moved so that eight lanes at a time
// find theirs in different banks.
NIBBLE_DEVICE int few_place(int piece) {
    return piece ^ ((piece >> 3) & 3);
}

template <typename T, int kRows>
NIBBLE_DEVICE void nf4_few(const Nf4ProductArguments<T>& args) {
    constexpr int kPiece = 16 / static_cast<int>(sizeof(T));
    constexpr int kPieces = kFewDepth / kPiece;
    const WeightView& weight = args.weight;
    const int64_t k = weight.cols;
    const Shared<float> codes = shared_memory<float>(0);
    const Shared<float> map = shared_memory<float>(16 * kWarp * 4);
    const Shared<T> x = shared_memory<T>(16 * kWarp * 4 + 256 * 4);
    fill_tables<kFewThreads>(codes, map);

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
        NIBBLE_UNROLL
        for (int o = 0; o < kFewOutputsOfWarp; ++o) {
            const int64_t n = output + o;
            if (n >= weight.rows) {
                continue;
            }
            const auto bytes = weight.data.template load<Words4>((n * k + d) / 2);
            const float scale = block_scale(weight, map, (n * k + d) / kNf4Block);
            float part[kRows] = {};
            NIBBLE_UNROLL
            for (int word = 0; word < 4; ++word) {
                float codes_of_word[8];
                NIBBLE_UNROLL
                for (int i = 0; i < 8; ++i) {
                    // The high nibble of each byte comes first.
                    codes_of_word[i] = code_of(codes, bytes.word[word] >> (i % 2 == 0 ? 4 * i + 4 : 4 * i - 4));
                }
                NIBBLE_UNROLL
                for (int r = 0; r < kRows; ++r) {
                    NIBBLE_UNROLL
                    for (int p = 0; p < 8 / kPiece; ++p) {
                        const int piece = (32 * lane_index() + 8 * word) / kPiece + p;
                        float values[kPiece];
                        unpack<T>(x.template load<Words4>(r * kFewDepth + few_place(piece) * kPiece), values);
                        NIBBLE_UNROLL
                        for (int i = 0; i < kPiece; ++i) {
                            part[r] = fused_multiply_add(values[i], codes_of_word[p * kPiece + i], part[r]);
                        }
                    }
                }
            }
            NIBBLE_UNROLL
            for (int r = 0; r < kRows; ++r) {
                sums[o][r] = fused_multiply_add(part[r], scale, sums[o][r]);
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
            if (n < weight.rows && r < args.m) {
                for (int64_t d = lane_index(); d < rank; d += kWarp) {
                    sum += args.adapter.scale * args.hidden[r * rank + d] * args.adapter.b[n * rank + d];
                }
            }
            sum = warp_sum(sum);
            if (n < weight.rows && r < args.m && lane_index() == 0) {
                store(args, r, n, weight.rows, sum);
            }
        }
    }
}

template <typename T>
NIBBLE_DEVICE void linear_finish(const LinearFinishArguments<T>& args) {
    for (int64_t i = static_cast<int64_t>(block_index(0)) * kFinishThreads + thread_index(); i < args.out.count;
         i += static_cast<int64_t>(grid_size(0)) * kFinishThreads) {
        float sum = args.bias.present() ? to_float(args.bias[i % args.columns]) : 0.0F;
        for (int64_t split = 0; split < args.splits; ++split) {
            sum += args.partial[split * args.out.count + i];
        }
        args.out[i] = from_float<T>(sum);
    }
}

template <typename T>
NIBBLE_DEVICE void few_1(const Nf4ProductArguments<T>& args) {
    nf4_few<T, 1>(args);
}
template <typename T>
NIBBLE_DEVICE void few_2(const Nf4ProductArguments<T>& args) {
    nf4_few<T, 2>(args);
}
template <typename T>
NIBBLE_DEVICE void few_4(const Nf4ProductArguments<T>& args) {
    nf4_few<T, 4>(args);
}

NIBBLE_KERNEL(nf4_few_1_f32, Nf4ProductArguments<float>, kFewThreads, few_1)
NIBBLE_KERNEL(nf4_few_1_bf16, Nf4ProductArguments<bf16>, kFewThreads, few_1)
NIBBLE_KERNEL(nf4_few_1_f16, Nf4ProductArguments<f16>, kFewThreads, few_1)
NIBBLE_KERNEL(nf4_few_2_f32, Nf4ProductArguments<float>, kFewThreads, few_2)
NIBBLE_KERNEL(nf4_few_2_bf16, Nf4ProductArguments<bf16>, kFewThreads, few_2)
NIBBLE_KERNEL(nf4_few_2_f16, Nf4ProductArguments<f16>, kFewThreads, few_2)
NIBBLE_KERNEL(nf4_few_4_f32, Nf4ProductArguments<float>, kFewThreads, few_4)
NIBBLE_KERNEL(nf4_few_4_bf16, Nf4ProductArguments<bf16>, kFewThreads, few_4)
NIBBLE_KERNEL(nf4_few_4_f16, Nf4ProductArguments<f16>, kFewThreads, few_4)
NIBBLE_KERNEL(linear_finish_f32, LinearFinishArguments<float>, kFinishThreads, linear_finish)
NIBBLE_KERNEL(linear_finish_bf16, LinearFinishArguments<bf16>, kFinishThreads, linear_finish)
NIBBLE_KERNEL(linear_finish_f16, LinearFinishArguments<f16>, kFinishThreads, linear_finish)

#if NIBBLE_HAS_BF16
NIBBLE_KERNEL(nf4_wide_forward_bf16, Nf4ProductArguments<bf16>, WideForward::kThreads, (nf4_forward<bf16, WideForward>))
NIBBLE_KERNEL(nf4_narrow_forward_bf16, Nf4ProductArguments<bf16>, NarrowForward::kThreads,
              (nf4_forward<bf16, NarrowForward>))
#endif
NIBBLE_KERNEL(nf4_wide_forward_f16, Nf4ProductArguments<f16>, WideForward::kThreads, (nf4_forward<f16, WideForward>))
NIBBLE_KERNEL(nf4_narrow_forward_f16, Nf4ProductArguments<f16>, NarrowForward::kThreads,
              (nf4_forward<f16, NarrowForward>))
NIBBLE_KERNEL(nf4_turing_forward_f16, Nf4ProductArguments<f16>, TuringForward::kThreads,
              (nf4_forward<f16, TuringForward>))

}  // namespace nibble::cuda
