// Grids of the row-wise and element-wise layers.
#include "layers.h"

#include <algorithm>

#include "launch.h"
#include "linear.h"
#include "operators.h"

namespace nibble::cuda {

namespace {

constexpr int kNormShared = kNormThreads / 32 * 4;

// Blocks enough to fill the chip; each then strides over its elements.
Grid elements_grid(int64_t count) {
    return {std::min<int64_t>(ceil_div(count, kElementThreads), int64_t{32} * device()->multiprocessors)};
}

}  // namespace

void rms_norm_forward(nibble_dtype dtype, const void* x, const void* update, const float* weight, int64_t rows,
                      int64_t cols, float eps, void* sum, void* y, float* inv_rms) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        launch(typed("rms_norm_forward", dtype), {rows}, kNormThreads, kNormShared,
               RmsNormForwardArguments<T>{span<const T>(x, rows * cols),
                                          span<const T>(update, rows * cols),
                                          {weight, cols},
                                          cols,
                                          eps,
                                          span<T>(sum, rows * cols),
                                          span<T>(y, rows * cols),
                                          span<float>(inv_rms, rows)});
    });
}

void rms_norm_backward(nibble_dtype dtype, const void* x, const float* weight, const float* inv_rms, const void* dy,
                       const void* residual, int64_t rows, int64_t cols, void* dx, float* dweight) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        const auto in = span<const T>(x, rows * cols);
        const auto out = span<const T>(dy, rows * cols);
        const Global<const float> inverse{inv_rms, rows};
        launch(typed("rms_norm_backward", dtype), {rows}, kNormThreads, kNormShared,
               RmsNormBackwardArguments<T>{in,
                                           {weight, cols},
                                           inverse,
                                           out,
                                           span<const T>(residual, rows * cols),
                                           cols,
                                           span<T>(dx, rows * cols)});
        if (dweight == nullptr) {
            return;
        }
        const int64_t shares = std::clamp<int64_t>(rows / 32, 1, 64);
        const Global<float> partial = workspace<float>(shares * cols);
        launch(typed("rms_norm_weight", dtype), {ceil_div(cols, kNormThreads), shares}, kNormThreads, 0,
               RmsNormWeightArguments<T>{in, inverse, out, rows, cols, ceil_div(rows, shares), partial});
        launch("sum_splits", {ceil_div(cols, kSumThreads)}, kSumThreads, 0,
               SumSplitsArguments{{partial.data, partial.count}, {dweight, cols}, shares});
    });
}

void rope(nibble_dtype dtype, const void* x, const float* cos, const float* sin, int64_t tokens, int64_t heads,
          int64_t head_dim, int64_t rotary_dim, bool inverse, void* y) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        const int64_t count = tokens * heads * head_dim;
        const int64_t angles = tokens * (rotary_dim / 2);
        launch(typed("rope", dtype), elements_grid(count - tokens * heads * (rotary_dim / 2)), kElementThreads, 0,
               RopeArguments<T>{span<const T>(x, count),
                                {cos, angles},
                                {sin, angles},
                                heads,
                                head_dim,
                                rotary_dim,
                                inverse ? -1.0F : 1.0F,
                                span<T>(y, count)});
    });
}

void swiglu_forward(nibble_dtype dtype, const void* gate, const void* up, int64_t count, void* y) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        launch(typed("swiglu_forward", dtype), elements_grid(count), kElementThreads, 0,
               SwiGluForwardArguments<T>{span<const T>(gate, count), span<const T>(up, count), span<T>(y, count)});
    });
}

void swiglu_backward(nibble_dtype dtype, const void* gate, const void* up, const void* dy, int64_t count, void* dgate,
                     void* dup) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        launch(typed("swiglu_backward", dtype), elements_grid(count), kElementThreads, 0,
               SwiGluBackwardArguments<T>{span<const T>(gate, count), span<const T>(up, count),
                                          span<const T>(dy, count), span<T>(dgate, count), span<T>(dup, count)});
    });
}

}  // namespace nibble::cuda
