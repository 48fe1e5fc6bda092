// Arguments of the row-wise and element-wise layers' kernels.
#pragma once

#include "span.h"

namespace nibble::cuda {

inline constexpr int kNormThreads = 256;
inline constexpr int kElementThreads = 256;

template <typename T>
struct RmsNormForwardArguments {
    Global<const T> x;
    Global<const T> update;
    Global<const float> weight;
    int64_t cols;
    float eps;
    Global<T> sum;
    Global<T> y;
    Global<float> inv_rms;
};

template <typename T>
struct RmsNormBackwardArguments {
    Global<const T> x;
    Global<const float> weight;
    Global<const float> inv_rms;
    Global<const T> dy;
    Global<const T> residual;
    int64_t cols;
    Global<T> dx;
};

// dweight is summed over a share of the rows by each block, [shares, cols], and then over the shares (sum_splits).
template <typename T>
struct RmsNormWeightArguments {
    Global<const T> x;
    Global<const float> inv_rms;
    Global<const T> dy;
    int64_t rows;
    int64_t cols;
    int64_t rows_of_share;
    Global<float> shares;
};

template <typename T>
struct RopeArguments {
    Global<const T> x;
    Global<const float> cos;
    Global<const float> sin;
    int64_t heads;
    int64_t head_dim;
    int64_t rotary_dim;
    float direction;  // 1, or -1 to turn back.
    Global<T> y;
};

template <typename T>
struct SwiGluForwardArguments {
    Global<const T> gate;
    Global<const T> up;
    Global<T> y;
};

template <typename T>
struct SwiGluBackwardArguments {
    Global<const T> gate;
    Global<const T> up;
    Global<const T> dy;
    Global<T> dgate;
    Global<T> dup;
};

}  // namespace nibble::cuda
