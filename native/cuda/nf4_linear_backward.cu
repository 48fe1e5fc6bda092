// dx = dy * deq(W) over NF4 weights on tensor cores: the depth is now N, so that neighbours in a byte are neighbours
// among the results.
#include "decode.h"
#include "nf4_tables.h"
#include "tensor_product.h"

namespace nibble::cuda {

// A stage holds 64 bytes, 128 columns, of each of 64 rows of weights. A lane takes four bytes of each of four rows,
// which are eight columns: fragment j holds column 8g + j of the warp's 64, so that a lane ends up with eight
// neighbours of a row of dx.
template <typename T, typename Tile>
struct Nf4Backward {
    static_assert(Tile::kColumns == 128 && Tile::kFragmentsN == 8);
    static constexpr Weights kWeights = Weights::nf4;
    static constexpr bool kBackward = true;
    static constexpr int kRun = 8;

    const TensorLinearArguments<T>& args;
    int64_t column;
    Nf4Tables tables;

    NIBBLE_DEVICE Nf4Backward(const TensorLinearArguments<T>& args_, int64_t column_) : args(args_), column(column_) {
        tables.template fill<Tile::kThreads>();
    }

    NIBBLE_DEVICE static int own_column(int j) { return 8 * (lane_index() / 4) + j; }

    // Where piece `piece` (16 bytes, 32 columns) of a row begins. The four rows that a warp reads at a time are eight
    // apart: rows are exchanged with their neighbours, and halves of rows with each other, so that the four lie in
    // different banks.
    NIBBLE_DEVICE static int offset(int row, int piece) {
        return 64 * (row ^ ((row >> 4) & 1)) + 16 * (piece ^ (((row >> 3) & 1) << 1));
    }

    NIBBLE_DEVICE void copy(const Stage& stage, int64_t depth) const {
        for_each_piece<Tile::kThreads, Tile::kDepth, 4>([&](int row, int piece) NIBBLE_INLINE {
            const int64_t c = column + 32 * piece;
            copy_async(stage.weights.from(offset(row, piece)), args.weight.data,
                       (args.first_row + depth + row) * (args.weight.cols / 2) + c / 2, c < args.weight.cols);
        });
    }

    NIBBLE_DEVICE float scale(int i, int64_t depth) const {
        const int64_t c = column + i / 64 * 64;
        const int64_t block = (args.first_row + depth + i % 64) * (args.weight.cols / kNf4Block) + c / kNf4Block;
        return c < args.weight.cols ? block_scale(args.weight, tables.map, block) : 0.0F;
    }

    struct Fragments {
        const Nf4Tables& tables;
        const Stage& stage;
        int warp_column;
        uint32_t words[4];
        float factors[4];

        NIBBLE_DEVICE void get(int step, int j, uint32_t (&b)[2]) {
            if (j == 0) {
                load(step);
            }
            const int bit = j % 2 == 0 ? 4 * j + 4 : 4 * j - 4;  // The high nibble of each byte comes first.
            NIBBLE_UNROLL
            for (int i = 0; i < 2; ++i) {
                b[i] = pack_pair<T>(tables.code(words[2 * i], bit) * factors[2 * i],
                                    tables.code(words[2 * i + 1], bit) * factors[2 * i + 1]);
            }
        }

        NIBBLE_DEVICE void load(int step) {
            const int group = lane_index() / 4;
            NIBBLE_UNROLL
            for (int i = 0; i < 4; ++i) {
                const int row = 32 * (step / 2) + 8 * (lane_index() % 4) + 4 * (step % 2) + i;
                words[i] =
                    stage.weights.template load<uint32_t>(offset(row, warp_column / 32 + group / 4) + 4 * (group % 4));
                factors[i] = stage.scales[warp_column / 64 * 64 + row];
            }
        }
    };

    NIBBLE_DEVICE Fragments fragments(const Stage& stage, int warp_column) const {
        return {tables, stage, warp_column, {}, {}};
    }
};

#if NIBBLE_FOR_AMPERE
NIBBLE_KERNEL(nf4_wide_backward_bf16, TensorLinearArguments<bf16>, WideBackward::kThreads,
              (tensor_product<bf16, WideBackward, Nf4Backward>))
NIBBLE_KERNEL(nf4_narrow_backward_bf16, TensorLinearArguments<bf16>, NarrowBackward::kThreads,
              (tensor_product<bf16, NarrowBackward, Nf4Backward>))
NIBBLE_KERNEL(nf4_wide_backward_f16, TensorLinearArguments<f16>, WideBackward::kThreads,
              (tensor_product<f16, WideBackward, Nf4Backward>))
#endif
#if NIBBLE_FOR_TURING
NIBBLE_KERNEL(nf4_turing_backward_f16, TensorLinearArguments<f16>, TuringBackward::kThreads,
              (tensor_product<f16, TuringBackward, Nf4Backward>))
#endif
NIBBLE_KERNEL(nf4_narrow_backward_f16, TensorLinearArguments<f16>, NarrowBackward::kThreads,
              (tensor_product<f16, NarrowBackward, Nf4Backward>))

}  // namespace nibble::cuda
