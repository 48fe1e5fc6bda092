// The decision which kernel makes a linear layer.
#pragma once

#include <string>

#include "nibble.h"

namespace nibble::cuda {

enum class Direction { forward, backward };

// What is to be multiplied: in[m, depth] by `row_count` rows of a weight, or by their transpose.
struct LinearTask {
    Direction direction;
    const nibble_weight& weight;
    int64_t row_count;
    nibble_dtype dtype;
    int64_t m;
    bool aligned;  // Activations, results and weights begin at multiples of 16 bytes.
};

struct LinearPlan {
    std::string kernel;  // Empty: the general kernels of linear.cu.
    int64_t row_tile = 0;
    int64_t column_tile = 0;
    int64_t splits = 1;  // Parts of the depth.
    int64_t depth_of_split = 0;
    int threads = 0;
    int shared_bytes = 0;

    bool general() const { return kernel.empty(); }
};

LinearPlan plan_linear(const nibble_device& chip, const LinearTask& task);

}  // namespace nibble::cuda
