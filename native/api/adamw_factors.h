// What a step of AdamW multiplies by, on every device.
#pragma once

#include <stdint.h>

namespace nibble {

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

// Which random bits round a parameter's new values: Philox's of the key `seed` and the counters (element / 128 * 16 +
// element % 16, step, kRoundingLayer | parameter). Element `e` has the half (e % 128) / 16 of its counter's 8 halves.
struct RoundingName {
    uint64_t seed;
    int64_t first;
    uint32_t step;
    uint32_t parameter;
};
inline constexpr int64_t kRoundingRun = 128;          // Elements that 16 counters serve.
inline constexpr uint32_t kRoundingLayer = 1U << 31;  // Apart from the layers of dropout masks.

}  // namespace nibble
