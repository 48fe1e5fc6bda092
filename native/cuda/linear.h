// Arguments of the linear layers' general kernels (linear.cu).
#pragma once

#include "adapter.h"
#include "weight.h"

namespace nibble::cuda {

// y[m, count] = x * W[first .. first + count)^T + hidden * B^T * scale + bias + residual, which may be y. Only a whole
// W has an adapter, a bias or a residual.
template <typename T, typename Out>
struct LinearForwardArguments {
    WeightView weight;
    int64_t first_row;
    int64_t row_count;
    AdapterView adapter;
    Global<const T> bias;
    Global<const T> x;
    Global<const float> hidden;
    Global<const T> residual;
    Global<Out> y;
    int64_t m;
};

// dx[m, K] = dy * W + mask * (hidden_gradient * A) + residual, which may be dx.
template <typename T>
struct LinearInputGradientArguments {
    WeightView weight;
    AdapterView adapter;
    Global<const T> dy;
    Global<const float> hidden_gradient;
    Global<const T> residual;
    Global<T> dx;
    int64_t m;
};

// The adapter's skinny products, all float32. The depth is cut into `splits` parts, and each writes a matrix of its
// own.
template <typename T>
struct AdapterProductArguments {
    AdapterView adapter;
    int64_t m;
    int64_t n;
    int64_t k;
    Global<const T> activation;  // x for hidden and dA, dy for hidden's gradient and dB.
    Global<const float> hidden;  // Its gradient for dA, itself for dB.
    Global<float> out;           // [splits, rows, columns]
    int64_t depth_of_split;
};

// out[i] = the sum of partial[s, i] over s.
struct SumSplitsArguments {
    Global<const float> partial;
    Global<float> out;
    int64_t splits;
};

inline constexpr int kSumThreads = 256;

// Tiles of an adapter's product: so many tokens or features by ranks, of which most adapters have few.
inline constexpr int kTileLines = 64;
inline constexpr int kFewRanks = 16;
inline constexpr int kRankTile = 64;

}  // namespace nibble::cuda
