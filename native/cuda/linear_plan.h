// The decision which kernel makes a linear layer.
#pragma once

#include "nibble.h"

namespace nibble::cuda {

struct LinearPlan {
    const char* kernel;  // Without its direction and element type.
    int64_t row_tile;
    int64_t column_tile;
    int64_t splits;  // Parts of the depth.
    int64_t depth_of_split;
    int threads;
    int shared_bytes;

    bool general() const { return kernel == nullptr; }
};

enum class Direction { forward, backward };

// For in[m, depth] * weight on a chip. `aligned` says whether activations and weights begin at multiples of 16 bytes.
LinearPlan plan_linear(const nibble_device& chip, Direction direction, const nibble_weight& weight, nibble_dtype dtype,
                       int64_t m, bool aligned);

}  // namespace nibble::cuda
