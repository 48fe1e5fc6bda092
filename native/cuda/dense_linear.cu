// Linear layers over weights of the activations' own 16-bit type on tensor cores: LoRA over a base that was not
// quantised, and the output head.
#include "tensor_product.h"

namespace nibble::cuda {

// y = x * W^T: a stage holds 64 of the depth of each of the tile's rows of weights, which are read as activations are.
template <typename T, typename Tile>
struct DenseForward {
    static constexpr Weights kWeights = Weights::dense;
    static constexpr bool kBackward = false;
    static constexpr int kRun = 2;

    const TensorLinearArguments<T>& args;
    int64_t column;

    NIBBLE_DEVICE DenseForward(const TensorLinearArguments<T>& args_, int64_t column_) : args(args_), column(column_) {}

    NIBBLE_DEVICE static int own_column(int j) { return 8 * j + lane_index() / 4; }

    NIBBLE_DEVICE void copy(const Stage& stage, int64_t depth) const {
        for_each_piece<Tile::kThreads, Tile::kColumns, 8>([&](int row, int piece) NIBBLE_INLINE {
            const int64_t n = args.first_row + column + row;
            copy_async(stage.weights.from(2 * row_offset(row, piece)), args.weight.data,
                       2 * (n * args.weight.cols + 8 * piece + depth), column + row < args.row_count);
        });
    }

    NIBBLE_DEVICE float scale(int, int64_t) const { return 1.0F; }

    // A lane reads the eight neighbours of two steps at once, as of activations: halves of them would lie in half of
    // the banks.
    struct Fragments {
        const Stage& stage;
        int warp_column;
        Words4 two[Tile::kFragmentsN];

        NIBBLE_DEVICE void get(int step, int j, uint32_t (&b)[2]) {
            if (step % 2 == 0) {
                const int piece = 4 * (step / 2) + lane_index() % 4;
                two[j] = stage.weights.template load<Words4>(2 * row_offset(warp_column + own_column(j), piece));
            }
            b[0] = two[j].word[2 * (step % 2)];
            b[1] = two[j].word[2 * (step % 2) + 1];
        }
    };

    NIBBLE_DEVICE Fragments fragments(const Stage& stage, int warp_column) const { return {stage, warp_column, {}}; }
};

// dx = dy * W: a stage holds 128 columns of each of 64 rows of weights, which ldmatrix turns on the way.
template <typename T, typename Tile>
struct DenseBackward {
    static_assert(Tile::kColumns == 128);
    static constexpr Weights kWeights = Weights::dense;
    static constexpr bool kBackward = true;
    static constexpr int kRun = 2;

    const TensorLinearArguments<T>& args;
    int64_t column;

    NIBBLE_DEVICE DenseBackward(const TensorLinearArguments<T>& args_, int64_t column_)
        : args(args_), column(column_) {}

    NIBBLE_DEVICE static int own_column(int j) { return 8 * j + lane_index() / 4; }

    // Where piece `piece` (16 bytes, eight columns) of a row begins. The eight rows of a matrix are pairs of neighbours
    // eight apart: each has its pieces moved otherwise, so that they lie in different banks.
    NIBBLE_DEVICE static int offset(int row, int piece) {
        return 256 * row + 16 * (piece ^ ((row & 1) | (((row >> 3) & 3) << 1)));
    }

    NIBBLE_DEVICE void copy(const Stage& stage, int64_t depth) const {
        for_each_piece<Tile::kThreads, Tile::kDepth, 16>([&](int row, int piece) NIBBLE_INLINE {
            const int64_t c = column + 8 * piece;
            copy_async(stage.weights.from(offset(row, piece)), args.weight.data,
                       2 * ((args.first_row + depth + row) * args.weight.cols + c), c < args.weight.cols);
        });
    }

    NIBBLE_DEVICE float scale(int, int64_t) const { return 1.0F; }

    struct Fragments {
        const Stage& stage;
        int warp_column;
        uint32_t two[4];  // Of fragments j and j + 1.

        NIBBLE_DEVICE void get(int step, int j, uint32_t (&b)[2]) {
            if (j % 2 == 0) {
                const int matrix = lane_index() / 8;
                const int i = lane_index() % 8;
                const int row = 32 * (step / 2) + 8 * (i / 2) + 4 * (step % 2) + 2 * (matrix % 2) + i % 2;
                load_matrix_turned(two, stage.weights.from(offset(row, warp_column / 8 + j + matrix / 2)));
            }
            b[0] = two[2 * (j % 2)];
            b[1] = two[2 * (j % 2) + 1];
        }
    };

    NIBBLE_DEVICE Fragments fragments(const Stage& stage, int warp_column) const { return {stage, warp_column, {}}; }
};

#if NIBBLE_FOR_AMPERE
NIBBLE_KERNEL(dense_wide_forward_bf16, TensorLinearArguments<bf16>, WideForward::kThreads,
              (tensor_product<bf16, WideForward, DenseForward>))
NIBBLE_KERNEL(dense_narrow_forward_bf16, TensorLinearArguments<bf16>, NarrowForward::kThreads,
              (tensor_product<bf16, NarrowForward, DenseForward>))
NIBBLE_KERNEL(dense_wide_backward_bf16, TensorLinearArguments<bf16>, WideBackward::kThreads,
              (tensor_product<bf16, WideBackward, DenseBackward>))
NIBBLE_KERNEL(dense_narrow_backward_bf16, TensorLinearArguments<bf16>, NarrowBackward::kThreads,
              (tensor_product<bf16, NarrowBackward, DenseBackward>))
NIBBLE_KERNEL(dense_wide_forward_f16, TensorLinearArguments<f16>, WideForward::kThreads,
              (tensor_product<f16, WideForward, DenseForward>))
NIBBLE_KERNEL(dense_wide_backward_f16, TensorLinearArguments<f16>, WideBackward::kThreads,
              (tensor_product<f16, WideBackward, DenseBackward>))
#endif
#if NIBBLE_FOR_TURING
NIBBLE_KERNEL(dense_turing_forward_f16, TensorLinearArguments<f16>, TuringForward::kThreads,
              (tensor_product<f16, TuringForward, DenseForward>))
NIBBLE_KERNEL(dense_turing_backward_f16, TensorLinearArguments<f16>, TuringBackward::kThreads,
              (tensor_product<f16, TuringBackward, DenseBackward>))
#endif
NIBBLE_KERNEL(dense_narrow_forward_f16, TensorLinearArguments<f16>, NarrowForward::kThreads,
              (tensor_product<f16, NarrowForward, DenseForward>))
NIBBLE_KERNEL(dense_narrow_backward_f16, TensorLinearArguments<f16>, NarrowBackward::kThreads,
              (tensor_product<f16, NarrowBackward, DenseBackward>))

}  // namespace nibble::cuda
