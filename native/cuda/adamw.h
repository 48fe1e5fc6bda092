// Arguments of AdamW's kernels.
#pragma once

#include "span.h"

namespace nibble::cuda {

inline constexpr int kAdamWThreads = 256;  // Also the block of 8-bit states, one element a thread.

// Of 8-bit steps: a float for each warp, and both dynamic maps.
inline constexpr int kAdamWScratchBytes = kAdamWThreads / 32 * 4;
inline constexpr int kAdamWShared = kAdamWScratchBytes + 2 * 256 * 4;

// The step's constants in float32, from float64 settings.
struct AdamWFactors {
    float step_size;    // learning rate / (1 - beta1^t)
    float root_factor;  // 1 / sqrt(1 - beta2^t)
    float kept;         // 1 - learning rate * weight decay
    float beta1;
    float beta2;
    float one_minus_beta1;
    float one_minus_beta2;
    float epsilon;
    float grad_scale;
};

struct AdamW32Arguments {
    AdamWFactors factors;
    Global<float> param;
    Global<const float> grad;
    Global<float> moment1;
    Global<float> moment2;
};

struct AdamW8Arguments {
    AdamWFactors factors;
    Global<float> param;
    Global<const float> grad;
    Global<uint8_t> codes1;
    Global<uint8_t> codes2;
    Global<float> absmax1;
    Global<float> absmax2;
};

}  // namespace nibble::cuda
