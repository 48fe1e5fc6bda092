// A weight matrix of any format, as kernels read it.
#pragma once

#include "span.h"

namespace nibble::cuda {

enum class Format : int32_t { f32 = 0, bf16 = 1, f16 = 2, nf4 = 3 };

struct WeightView {
    int64_t rows;
    int64_t cols;
    Format format;
    float absmax_offset;
    Global<const uint8_t> data;
    Global<const float> absmax;  // Not present when double-quantised.
    Global<const uint8_t> absmax_codes;
    Global<const float> nested_absmax;
};

}  // namespace nibble::cuda
