// dx = dy * deq(W) over NF4 weights on tensor cores: the depth is now N, so that neighbours in a byte are neighbours
// among the results. A lane takes four bytes of each of four rows, which are eight columns of every fragment; fragment
// j holds column 8g + j of the warp's 64, so that a lane ends up with eight neighbours of a row of dx.
#include "nf4_linear.h"
#include "nf4_pipeline.h"
#include "philox.h"

namespace nibble::cuda {

// Where piece `piece` (16 bytes, 32 columns) of a row of packed weights begins. The four rows that a warp reads at a
// time are eight apart: rows are exchanged with their neighbours, and halves of rows with each other, so that the four
// lie in different banks.
NIBBLE_DEVICE int backward_weight_offset(int row, int piece) {
    return 64 * (row ^ ((row >> 4) & 1)) + 16 * (piece ^ (((row >> 3) & 1) << 1));
}

// The weights of a lane for a quarter of a stage's depth.
template <typename Tile>
struct BackwardFragments {
    static_assert(Tile::kColumns == 128 && Tile::kFragmentsN == 8);
    uint32_t words[4];
    float scales[4];

    NIBBLE_DEVICE void load(const Stage<Tile>& stage, int column, int step) {
        const int group = lane_index() / 4;
        const int quarter = lane_index() % 4;
        NIBBLE_UNROLL
        for (int i = 0; i < 4; ++i) {
            const int row = 32 * (step / 2) + 8 * quarter + 4 * (step % 2) + i;
            const int place = backward_weight_offset(row, column / 32 + group / 4) + 4 * (group % 4);
            words[i] = stage.weights.template load<uint32_t>(place);
            scales[i] = stage.scales[64 * (column / 64) + row];
        }
    }

    template <typename T>
    NIBBLE_DEVICE void decode(Shared<float> codes, int j, uint32_t (&b)[2]) const {
        const int shift = j % 2 == 0 ? 4 * j + 4 : 4 * j - 4;  // The high nibble of each byte comes first.
        NIBBLE_UNROLL
        for (int i = 0; i < 2; ++i) {
            b[i] = pack_pair<T>(code_of(codes, words[2 * i] >> shift) * scales[2 * i],
                                code_of(codes, words[2 * i + 1] >> shift) * scales[2 * i + 1]);
        }
    }
};

// Eight neighbours of a row.
template <typename T>
NIBBLE_DEVICE void store_eight(const Nf4ProductArguments<T>& args, int64_t row, int64_t column, int64_t columns,
                               const float (&sums)[8]) {
    const int64_t index = row * columns + column;
    if (args.partial.present()) {
        NIBBLE_UNROLL
        for (int half = 0; half < 2; ++half) {
            Words4 words;
            NIBBLE_UNROLL
            for (int i = 0; i < 4; ++i) {
                words.word[i] = float_to_bits(sums[4 * half + i]);
            }
            args.partial.template store<Words4>(block_index(2) * args.m * columns + index + 4 * half, words);
        }
        return;
    }
    Words4 words;
    NIBBLE_UNROLL
    for (int i = 0; i < 4; ++i) {
        words.word[i] = pack_pair<T>(sums[2 * i], sums[2 * i + 1]);
    }
    args.out.template store<Words4>(index, words);
}

template <typename T, typename Tile>
NIBBLE_DEVICE void nf4_backward(const Nf4ProductArguments<T>& args) {
    const WeightView& weight = args.weight;
    const int64_t k = weight.cols;
    const int64_t row = static_cast<int64_t>(block_index(1)) * Tile::kRows;
    const int64_t column = static_cast<int64_t>(block_index(0)) * Tile::kColumns;
    const int warp_row = warp_index() / Tile::kWarpsN * Tile::kFragmentsM * 16;
    const int warp_column = warp_index() % Tile::kWarpsN * Tile::kFragmentsN * 8;
    const int group = lane_index() / 4;
    const int quarter = lane_index() % 4;
    Sums<Tile> sums;

    // Calls body(i, half, first column) for each eight neighbours of this lane that lie in the matrix.
    const auto for_each_eight = [&](const auto& body) NIBBLE_INLINE {
        NIBBLE_UNROLL
        for (int i = 0; i < Tile::kFragmentsM; ++i) {
            NIBBLE_UNROLL
            for (int half = 0; half < 2; ++half) {
                NIBBLE_UNROLL
                for (int e = 0; e < 2; ++e) {
                    const int64_t r = row + warp_row + 16 * i + 8 * half + group;
                    const int64_t c = column + warp_column + 16 * quarter + 8 * e;
                    if (r < args.m && c < k) {
                        body(i, 2 * half + e, r, c);
                    }
                }
            }
        }
    };

    // The adapter's share comes first, since the mask acts on it alone.
    if (args.adapter.rank > 0 && block_index(2) == 0) {
        sums.template add_dense<T>(
            args.adapter.rank,
            [&](int r, int64_t d) NIBBLE_INLINE {
                return row + warp_row + r < args.m ? args.hidden[(row + warp_row + r) * args.adapter.rank + d] : 0.0F;
            },
            [&](int j, int64_t d) NIBBLE_INLINE {
                const int64_t c = column + warp_column + 8 * group + j;
                return c < k ? args.adapter.a[d * k + c] : 0.0F;
            });
        if (args.adapter.dropout.threshold > 0) {
            for_each_eight([&](int i, int e, int64_t r, int64_t c) NIBBLE_INLINE {
                float factors[8];
                dropout_factors(args.adapter.dropout, r * k + c, factors);
                NIBBLE_UNROLL
                for (int j = 0; j < 8; ++j) {
                    sums.value[i][j][e] *= factors[j];
                }
            });
        }
    }

    Pipeline<T, Tile> pipeline(args.in, args.m, row, weight.rows);
    pipeline.run(
        block_index(2) * args.depth_of_split, min_of((block_index(2) + 1) * args.depth_of_split, weight.rows),
        [&](const Stage<Tile>& stage, int64_t depth) NIBBLE_INLINE {
            for (int e = static_cast<int>(thread_index()); e < 4 * Tile::kDepth; e += Tile::kThreads) {
                const int n = e / 4;
                const int64_t c = column + 32 * (e % 4);
                copy_async(stage.weights.from(backward_weight_offset(n, e % 4)), weight.data, ((depth + n) * k + c) / 2,
                           c < k);
            }
        },
        [&](int i, int64_t depth) NIBBLE_INLINE {
            const int64_t c = column + i / 64 * 64;
            return c < k ? block_scale(weight, pipeline.map, ((depth + i % 64) * k + c) / kNf4Block) : 0.0F;
        },
        [&](const Stage<Tile>& stage) NIBBLE_INLINE {
            BackwardFragments<Tile> fragments;
            sums.template add<T>(stage, warp_row, [&](int step, int j, uint32_t(&b)[2]) NIBBLE_INLINE {
                if (j == 0) {
                    fragments.load(stage, warp_column, step);
                }
                fragments.template decode<T>(pipeline.codes, j, b);
            });
        });

    for_each_eight([&](int i, int e, int64_t r, int64_t c) NIBBLE_INLINE {
        float eight[8];
        NIBBLE_UNROLL
        for (int j = 0; j < 8; ++j) {
            eight[j] = sums.value[i][j][e];
        }
        store_eight(args, r, c, k, eight);
    });
}

#if NIBBLE_HAS_BF16
NIBBLE_KERNEL(nf4_wide_backward_bf16, Nf4ProductArguments<bf16>, WideBackward::kThreads,
              (nf4_backward<bf16, WideBackward>))
NIBBLE_KERNEL(nf4_narrow_backward_bf16, Nf4ProductArguments<bf16>, NarrowBackward::kThreads,
              (nf4_backward<bf16, NarrowBackward>))
#endif
NIBBLE_KERNEL(nf4_wide_backward_f16, Nf4ProductArguments<f16>, WideBackward::kThreads,
              (nf4_backward<f16, WideBackward>))
NIBBLE_KERNEL(nf4_narrow_backward_f16, Nf4ProductArguments<f16>, NarrowBackward::kThreads,
              (nf4_backward<f16, NarrowBackward>))
NIBBLE_KERNEL(nf4_turing_backward_f16, Nf4ProductArguments<f16>, TuringBackward::kThreads,
              (nf4_backward<f16, TuringBackward>))

}  // namespace nibble::cuda
