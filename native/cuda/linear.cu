// Linear layers and their adapters for every element type, weight format and size. Float32 activations, weights that
// are not NF4, rows that begin inside a block, and chips without the matching tensor cores come here; nf4_linear.cu has
// the fast path of the others.
#include "linear.h"

#include "operands.h"
#include "tensor_linear.h"
#include "tile.h"

namespace nibble::cuda {

// y = scale * hidden * B^T + x * W^T.
template <typename T, typename Out>
NIBBLE_DEVICE void linear_forward(const LinearForwardArguments<T, Out>& args) {
    const int64_t row = static_cast<int64_t>(block_index(1)) * 64;
    const int64_t column = static_cast<int64_t>(block_index(0)) * 64;
    const AdapterView& adapter = args.adapter;
    Tile<64, 64> tile;
    if (adapter.rank > 0) {
        tile.add(0, adapter.rank, Lines<Matrix<float>>{{args.hidden, args.m, adapter.rank}, row},
                 Lines<Matrix<float>>{{adapter.b, args.weight.rows, adapter.rank}, column});
        NIBBLE_UNROLL
        for (int i = 0; i < tile.kThreadRows; ++i) {
            NIBBLE_UNROLL
            for (int j = 0; j < tile.kThreadColumns; ++j) {
                tile.sums[i][j] *= adapter.scale;
            }
        }
    }
    tile.add(0, args.weight.cols, Lines<Matrix<T>>{{args.x, args.m, args.weight.cols}, row},
             WeightLines{args.weight, args.first_row + column});
    tile.for_each(row, args.m, column, args.row_count, [&](int64_t r, int64_t c, float sum) NIBBLE_INLINE {
        const float bias = args.bias.present() ? to_float(args.bias[c]) : 0.0F;
        const float other = args.residual.present() ? to_float(args.residual[r * args.row_count + c]) : 0.0F;
        args.y[r * args.row_count + c] = from_float<Out>(sum + bias + other);
    });
}

// The mask acts on the adapter's share alone, which is therefore summed first.
template <typename T>
NIBBLE_DEVICE void linear_input_gradient(const LinearInputGradientArguments<T>& args) {
    const int64_t row = static_cast<int64_t>(block_index(1)) * 64;
    const int64_t column = static_cast<int64_t>(block_index(0)) * 64;
    const AdapterView& adapter = args.adapter;
    const int64_t k = args.weight.cols;
    Tile<64, 64> tile;
    if (adapter.rank > 0) {
        tile.add(0, adapter.rank, Lines<Matrix<float>>{{args.hidden_gradient, args.m, adapter.rank}, row},
                 Across<Matrix<float>>{{adapter.a, adapter.rank, k}, column});
        if (adapter.dropout.threshold > 0) {
            NIBBLE_UNROLL
            for (int i = 0; i < tile.kThreadRows; ++i) {
                const int64_t element = (row + tile.first_row() + i) * k + column + tile.first_column();
                float factors[tile.kThreadColumns];
                if (element % tile.kThreadColumns == 0) {
                    dropout_factors(adapter.dropout, element, factors);
                } else {
                    NIBBLE_UNROLL
                    for (int j = 0; j < tile.kThreadColumns; ++j) {
                        factors[j] = dropout_factor(adapter.dropout, element + j);
                    }
                }
                NIBBLE_UNROLL
                for (int j = 0; j < tile.kThreadColumns; ++j) {
                    tile.sums[i][j] *= factors[j];
                }
            }
        }
    }
    tile.add(0, args.weight.rows, Lines<Matrix<T>>{{args.dy, args.m, args.weight.rows}, row},
             WeightAcross{args.weight, column});
    tile.for_each(row, args.m, column, k, [&](int64_t r, int64_t c, float sum) NIBBLE_INLINE {
        const float other = args.residual.present() ? to_float(args.residual[r * k + c]) : 0.0F;
        args.dx[r * k + c] = from_float<T>(sum + other);
    });
}

// One part of the depth of factor * left[rows, depth] * right[depth, columns], by tiles of kRows x kColumns.
// left(row) and right(column) give the operands from the tile's first row and column on. A tile takes up to kRankTile
// ranks, all that most adapters have, so that an activation is read and its dropout decided once. Of more ranks, each
// kRankTile do that again: their multiplications are several times the work of it.
template <int kRows, int kColumns, typename T, typename Left, typename Right>
NIBBLE_DEVICE void adapter_product(const AdapterProductArguments<T>& args, int64_t rows, int64_t depth, int64_t columns,
                                   float factor, const Left& left, const Right& right) {
    const int64_t row = static_cast<int64_t>(block_index(1)) * kRows;
    const int64_t column = static_cast<int64_t>(block_index(0)) * kColumns;
    const int64_t first = block_index(2) * args.depth_of_split;
    Tile<kRows, kColumns> tile;
    tile.add(first, min_of(first + args.depth_of_split, depth), left(row), right(column));
    tile.for_each(row, rows, column, columns, [&](int64_t r, int64_t c, float sum) NIBBLE_INLINE {
        args.out[(block_index(2) * rows + r) * columns + c] = factor * sum;
    });
}

// hidden[m, rank] = drop(x) * A^T.
template <int kRanks, typename T>
NIBBLE_DEVICE void adapter_hidden(const AdapterProductArguments<T>& args) {
    const AdapterView& adapter = args.adapter;
    adapter_product<kTileLines, kRanks>(
        args, args.m, args.k, adapter.rank, 1.0F,
        [&](int64_t row) NIBBLE_INLINE {
            return Lines<Dropped<T>>{{{args.activation, args.m, args.k}, adapter.dropout}, row};
        },
        [&](int64_t column) NIBBLE_INLINE {
            return Lines<Matrix<float>>{{adapter.a, adapter.rank, args.k}, column};
        });
}

// hidden_gradient[m, rank] = scale * dy * B.
template <int kRanks, typename T>
NIBBLE_DEVICE void adapter_hidden_gradient(const AdapterProductArguments<T>& args) {
    const AdapterView& adapter = args.adapter;
    adapter_product<kTileLines, kRanks>(
        args, args.m, args.n, adapter.rank, adapter.scale,
        [&](int64_t row) NIBBLE_INLINE {
            return Lines<Matrix<T>>{{args.activation, args.m, args.n}, row};
        },
        [&](int64_t column) NIBBLE_INLINE {
            return Across<Matrix<float>>{{adapter.b, args.n, adapter.rank}, column};
        });
}

// dA[rank, K] = hidden_gradient^T * drop(x).
template <int kRanks, typename T>
NIBBLE_DEVICE void adapter_a_gradient(const AdapterProductArguments<T>& args) {
    const AdapterView& adapter = args.adapter;
    adapter_product<kRanks, kTileLines>(
        args, adapter.rank, args.m, args.k, 1.0F,
        [&](int64_t row) NIBBLE_INLINE {
            return Across<Matrix<float>>{{args.hidden, args.m, adapter.rank}, row};
        },
        [&](int64_t column) NIBBLE_INLINE {
            return Across<Dropped<T>>{{{args.activation, args.m, args.k}, adapter.dropout}, column};
        });
}

// dB[N, rank] = scale * dy^T * hidden.
template <int kRanks, typename T>
NIBBLE_DEVICE void adapter_b_gradient(const AdapterProductArguments<T>& args) {
    const AdapterView& adapter = args.adapter;
    adapter_product<kTileLines, kRanks>(
        args, args.n, args.m, adapter.rank, adapter.scale,
        [&](int64_t row) NIBBLE_INLINE {
            return Across<Matrix<T>>{{args.activation, args.m, args.n}, row};
        },
        [&](int64_t column) NIBBLE_INLINE {
            return Across<Matrix<float>>{{args.hidden, args.m, adapter.rank}, column};
        });
}

NIBBLE_DEVICE void sum_splits(const SumSplitsArguments& args) {
    const int64_t count = args.out.count;
    for (int64_t i = static_cast<int64_t>(block_index(0)) * kSumThreads + thread_index(); i < count;
         i += static_cast<int64_t>(grid_size(0)) * kSumThreads) {
        float sum = 0.0F;
        for (int64_t split = 0; split < args.splits; ++split) {
            sum += args.partial[split * count + i];
        }
        args.out[i] = sum;
    }
}

template <typename T>
NIBBLE_DEVICE void linear_finish(const LinearFinishArguments<T>& args) {
    for (int64_t i = static_cast<int64_t>(block_index(0)) * kFinishThreads + thread_index(); i < args.out.count;
         i += static_cast<int64_t>(grid_size(0)) * kFinishThreads) {
        float sum = args.bias.present() ? to_float(args.bias[i % args.columns]) : 0.0F;
        sum += args.residual.present() ? to_float(args.residual[i]) : 0.0F;
        for (int64_t split = 0; split < args.splits; ++split) {
            sum += args.sums[split * args.out.count + i];
        }
        args.out[i] = from_float<T>(sum);
    }
}

using ForwardF32 = LinearForwardArguments<float, float>;
using ForwardBf16 = LinearForwardArguments<bf16, bf16>;
using ForwardF16 = LinearForwardArguments<f16, f16>;
using LogitsBf16 = LinearForwardArguments<bf16, float>;
using LogitsF16 = LinearForwardArguments<f16, float>;

NIBBLE_KERNEL(linear_forward_f32, ForwardF32, kTileThreads, linear_forward)
NIBBLE_KERNEL(linear_forward_bf16, ForwardBf16, kTileThreads, linear_forward)
NIBBLE_KERNEL(linear_forward_f16, ForwardF16, kTileThreads, linear_forward)
NIBBLE_KERNEL(linear_logits_f32, ForwardF32, kTileThreads, linear_forward)
NIBBLE_KERNEL(linear_logits_bf16, LogitsBf16, kTileThreads, linear_forward)
NIBBLE_KERNEL(linear_logits_f16, LogitsF16, kTileThreads, linear_forward)
NIBBLE_KERNEL(linear_input_gradient_f32, LinearInputGradientArguments<float>, kTileThreads, linear_input_gradient)
NIBBLE_KERNEL(linear_input_gradient_bf16, LinearInputGradientArguments<bf16>, kTileThreads, linear_input_gradient)
NIBBLE_KERNEL(linear_input_gradient_f16, LinearInputGradientArguments<f16>, kTileThreads, linear_input_gradient)
NIBBLE_KERNEL(linear_finish_f32, LinearFinishArguments<float>, kFinishThreads, linear_finish)
NIBBLE_KERNEL(linear_finish_bf16, LinearFinishArguments<bf16>, kFinishThreads, linear_finish)
NIBBLE_KERNEL(linear_finish_f16, LinearFinishArguments<f16>, kFinishThreads, linear_finish)
NIBBLE_KERNEL(sum_splits, SumSplitsArguments, kSumThreads, sum_splits)

// adapter_hidden_16_f32 and so on: for ranks up to 16, and for more.
#define NIBBLE_ADAPTER_KERNELS(name, type, T)                                                  \
    NIBBLE_KERNEL(name##_16_##type, AdapterProductArguments<T>, kTileThreads, name<kFewRanks>) \
    NIBBLE_KERNEL(name##_64_##type, AdapterProductArguments<T>, kTileThreads, name<kRankTile>)
NIBBLE_ADAPTER_KERNELS(adapter_hidden, f32, float)
NIBBLE_ADAPTER_KERNELS(adapter_hidden, bf16, bf16)
NIBBLE_ADAPTER_KERNELS(adapter_hidden, f16, f16)
NIBBLE_ADAPTER_KERNELS(adapter_hidden_gradient, f32, float)
NIBBLE_ADAPTER_KERNELS(adapter_hidden_gradient, bf16, bf16)
NIBBLE_ADAPTER_KERNELS(adapter_hidden_gradient, f16, f16)
NIBBLE_ADAPTER_KERNELS(adapter_a_gradient, f32, float)
NIBBLE_ADAPTER_KERNELS(adapter_a_gradient, bf16, bf16)
NIBBLE_ADAPTER_KERNELS(adapter_a_gradient, f16, f16)
NIBBLE_ADAPTER_KERNELS(adapter_b_gradient, f32, float)
NIBBLE_ADAPTER_KERNELS(adapter_b_gradient, bf16, bf16)
NIBBLE_ADAPTER_KERNELS(adapter_b_gradient, f16, f16)

}  // namespace nibble::cuda
