// A low-rank adapter, and the name of the dropout mask on its input.
#pragma once

#include "span.h"

namespace nibble::cuda {

struct DropoutView {
    uint64_t seed;
    uint32_t step;
    uint32_t layer;
    uint32_t threshold;  // Words below it drop their element; 0 without dropout.
    float kept;          // Factor on the others.
};

struct AdapterView {
    int32_t rank;  // 0 without an adapter.
    float scale;
    Global<const float> a;  // [rank, K]
    Global<const float> b;  // [N, rank]
    DropoutView dropout;
};

}  // namespace nibble::cuda
