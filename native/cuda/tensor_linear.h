// Arguments and tile sizes of the linear layer's fast kernels: tensor cores, and few rows by hand.
#pragma once

#include "adapter.h"
#include "weight.h"

namespace nibble::cuda {

// With R the rows [first_row, first_row + row_count) of the weight:
// forward: out[m, row_count] = in[m, K] * R^T + scale * hidden * B^T + bias + residual;
// backward: out[m, K] = in[m, row_count] * R + mask * (hidden * A) + residual, where hidden is the gradient of
// forward's. The residual may be out. With `sums` present the results go there instead, in float32: as sums[split, m,
// columns] of one part of the depth each (linear_finish adds them up), or added to what is there.
template <typename T>
struct TensorLinearArguments {
    WeightView weight;
    int64_t first_row;
    int64_t row_count;
    AdapterView adapter;
    Global<const T> bias;
    Global<const T> in;
    int64_t in_stride;  // Elements from one row to the next.
    Global<const float> hidden;
    Global<const T> residual;
    Global<T> out;
    Global<float> sums;
    bool adds;
    int64_t m;
    int64_t depth_of_split;
};

// out[row, column] = sum of sums[s, row, column] + bias[column] + residual[row, column].
template <typename T>
struct LinearFinishArguments {
    Global<const float> sums;
    Global<const T> bias;
    Global<const T> residual;
    Global<T> out;
    int64_t columns;
    int64_t splits;
};

inline constexpr int kFinishThreads = 256;

// ---- few rows: every weight is read once, and multiplied on the ordinary cores -------------------------------------

inline constexpr int kFewRows = 4;
inline constexpr int kFewThreads = 256;
inline constexpr int kFewOutputsOfWarp = 4;
inline constexpr int kFewOutputs = kFewThreads / 32 * kFewOutputsOfWarp;
inline constexpr int kFewDepth = 1024;  // Of the rows of x that are in shared memory at a time.

inline constexpr int kCodesBytes = 16 * 32 * 4;  // A copy of the code book for each lane: no two in one bank.
inline constexpr int kMapBytes = 256 * 4;        // The signed dynamic map.

constexpr int few_shared_bytes(int rows, int element_bytes) {
    return kCodesBytes + kMapBytes + rows * kFewDepth * element_bytes;
}

// ---- tensor cores --------------------------------------------------------------------------------------------------
// A block's tile is kWarpsM * kFragmentsM * 16 rows by kWarpsN * kFragmentsN * 8 columns. A pipeline of kStages brings
// 64 of the depth at a time into shared memory: activations and weights of 16 bits, or weights of 4 bits with a float32
// scale for each column (forward) or for each row of weights and 64 columns (backward), which are as many.

enum class Weights { nf4, dense };

template <int kWarpsM_, int kWarpsN_, int kFragmentsM_, int kFragmentsN_, int kStages_>
struct TensorTile {
    static constexpr int kWarpsM = kWarpsM_;
    static constexpr int kWarpsN = kWarpsN_;
    static constexpr int kFragmentsM = kFragmentsM_;
    static constexpr int kFragmentsN = kFragmentsN_;
    static constexpr int kStages = kStages_;
    static constexpr int kThreads = kWarpsM * kWarpsN * 32;
    static constexpr int kRows = kWarpsM * kFragmentsM * 16;
    static constexpr int kColumns = kWarpsN * kFragmentsN * 8;
    static constexpr int kDepth = 64;

    static constexpr int activation_bytes() { return kRows * kDepth * 2; }
    static constexpr int weight_bytes(Weights weights) {
        return weights == Weights::nf4 ? kColumns * kDepth / 2 : kColumns * kDepth * 2;
    }
    static constexpr int scale_bytes(Weights weights) { return weights == Weights::nf4 ? kColumns * 4 : 0; }
    static constexpr int table_bytes(Weights weights) { return weights == Weights::nf4 ? kCodesBytes + kMapBytes : 0; }
    static constexpr int stage_bytes(Weights weights) {
        return activation_bytes() + weight_bytes(weights) + scale_bytes(weights);
    }
    static constexpr int shared_bytes(Weights weights) { return table_bytes(weights) + kStages * stage_bytes(weights); }
};

// Many rows: 128 x 128. A warp decodes 32 (forward) or 64 (backward) columns for 64 or 32 rows.
using WideForward = TensorTile<2, 4, 4, 4, 3>;
using WideBackward = TensorTile<4, 2, 2, 8, 3>;
// Turing has 64 KiB of shared memory and no copies in the background.
using TuringForward = TensorTile<2, 4, 4, 4, 2>;
using TuringBackward = TensorTile<4, 2, 2, 8, 2>;
// Up to 16 rows: all of them are one fragment, and the time goes into reading weights.
using NarrowForward = TensorTile<1, 4, 1, 4, 3>;
using NarrowBackward = TensorTile<1, 2, 1, 8, 3>;

}  // namespace nibble::cuda
