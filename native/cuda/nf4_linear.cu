// y = x * deq(W)^T over NF4 weights on tensor cores, decoded in registers on the way from shared memory to the product.
#include "decode.h"
#include "nf4_tables.h"
#include "tensor_product.h"

namespace nibble::cuda {

// A stage holds 32 bytes of each of the tile's rows of weights. ldmatrix hands a lane the four bytes of its eight
// neighbours in depth.
template <typename T, typename Tile>
struct Nf4Forward {
    static constexpr Weights kWeights = Weights::nf4;
    static constexpr bool kBackward = false;
    static constexpr int kRun = 2;

    const TensorLinearArguments<T>& args;
    int64_t column;
    Nf4Tables tables;

    NIBBLE_DEVICE Nf4Forward(const TensorLinearArguments<T>& args_, int64_t column_) : args(args_), column(column_) {
        tables.template fill<Tile::kThreads>();
    }

    NIBBLE_DEVICE static int own_column(int j) { return 8 * j + lane_index() / 4; }

    // Where half `half` (16 bytes) of a row begins. ldmatrix reads eight rows at a time: every other four have their
    // halves exchanged, so that the eight lie in different banks.
    NIBBLE_DEVICE static int offset(int row, int half) { return 32 * row + 16 * (half ^ ((row >> 2) & 1)); }

    NIBBLE_DEVICE void copy(const Stage& stage, int64_t depth) const {
        for_each_piece<Tile::kThreads, Tile::kColumns, 2>([&](int row, int half) NIBBLE_INLINE {
            const int64_t n = args.first_row + column + row;
            copy_async(stage.weights.from(offset(row, half)), args.weight.data,
                       n * (args.weight.cols / 2) + 16 * half + depth / 2, column + row < args.row_count);
        });
    }

    NIBBLE_DEVICE float scale(int i, int64_t depth) const {
        const int64_t block = (args.first_row + column + i) * (args.weight.cols / kNf4Block) + depth / kNf4Block;
        return column + i < args.row_count ? block_scale(args.weight, tables.map, block) : 0.0F;
    }

    struct Fragments {
        const Nf4Tables& tables;
        const Stage& stage;
        int warp_column;
        uint32_t packed[Tile::kFragmentsN / 2][4];

        NIBBLE_DEVICE void get(int step, int j, uint32_t (&b)[2]) const {
            const float factor = stage.scales[warp_column + own_column(j)];
            const uint32_t word = packed[j / 2][2 * (j % 2) + step / 2];
            NIBBLE_UNROLL
            for (int i = 0; i < 2; ++i) {
                const int byte = 16 * (step % 2) + 8 * i;
                b[i] = pack_pair<T>(tables.code(word, byte + 4) * factor, tables.code(word, byte) * factor);
            }
        }
    };

    NIBBLE_DEVICE Fragments fragments(const Stage& stage, int warp_column) const {
        Fragments result{tables, stage, warp_column, {}};
        const int matrix = lane_index() / 8;
        NIBBLE_UNROLL
        for (int pair = 0; pair < Tile::kFragmentsN / 2; ++pair) {
            const int row = warp_column + 16 * pair + matrix / 2 * 8 + lane_index() % 8;
            load_matrix(result.packed[pair], stage.weights.from(offset(row, matrix % 2)));
        }
        return result;
    }
};

#if NIBBLE_FOR_AMPERE
NIBBLE_KERNEL(nf4_wide_forward_bf16, TensorLinearArguments<bf16>, WideForward::kThreads,
              (tensor_product<bf16, WideForward, Nf4Forward>))
NIBBLE_KERNEL(nf4_narrow_forward_bf16, TensorLinearArguments<bf16>, NarrowForward::kThreads,
              (tensor_product<bf16, NarrowForward, Nf4Forward>))
NIBBLE_KERNEL(nf4_wide_forward_f16, TensorLinearArguments<f16>, WideForward::kThreads,
              (tensor_product<f16, WideForward, Nf4Forward>))
#endif
#if NIBBLE_FOR_TURING
NIBBLE_KERNEL(nf4_turing_forward_f16, TensorLinearArguments<f16>, TuringForward::kThreads,
              (tensor_product<f16, TuringForward, Nf4Forward>))
#endif
NIBBLE_KERNEL(nf4_narrow_forward_f16, TensorLinearArguments<f16>, NarrowForward::kThreads,
              (tensor_product<f16, NarrowForward, Nf4Forward>))

}  // namespace nibble::cuda
