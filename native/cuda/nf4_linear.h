// Arguments and tile sizes of the NF4 linear layer's fast kernels, which take weights whose rows are whole blocks.
#pragma once

#include "adapter.h"
#include "weight.h"

namespace nibble::cuda {

// Forward: out[m, N] = in[m, K] * W^T + scale * hidden * B^T + bias.
// Backward: out[m, K] = in[m, N] * W + mask * (hidden * A), where hidden is the gradient of forward's.
// With `partial` present the depth is cut into parts of `depth_of_split`, each of which writes its sums to
// partial[split, m, columns]; linear_finish adds them up.
template <typename T>
struct Nf4ProductArguments {
    WeightView weight;
    AdapterView adapter;
    Global<const T> bias;
    Global<const T> in;
    Global<const float> hidden;
    Global<T> out;
    Global<float> partial;
    int64_t m;
    int64_t depth_of_split;
};

// out[row, column] = sum of partial[s, row, column] + bias[column].
template <typename T>
struct LinearFinishArguments {
    Global<const float> partial;
    Global<const T> bias;
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

constexpr int few_shared_bytes(int rows, int element_bytes) {
    return 16 * 32 * 4 + 256 * 4 + rows * kFewDepth * element_bytes;
}

// ---- tensor cores --------------------------------------------------------------------------------------------------
// A block's tile is kWarpsM * kFragmentsM * 16 rows by kWarpsN * kFragmentsN * 8 columns. Each stage of the pipeline
// holds 64 of the depth: the activations, the packed weights, and a scale for each column (forward) or for each row of
// weights and block of 64 columns (backward).

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
    static constexpr int kRowBytes = kDepth * 2;
    static constexpr int kWeightBytes = kColumns * kDepth / 2;
    static constexpr int kCodesBytes = 16 * 32 * 4;  // A copy of the code book for each lane: no two in one bank.
    static constexpr int kMapBytes = 256 * 4;
    static constexpr int kStageBytes = kRows * kRowBytes + kWeightBytes + kColumns * 4;
    static constexpr int kSharedBytes = kCodesBytes + kMapBytes + kStages * kStageBytes;
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
