// What a step of AdamW multiplies by, on every device.
#pragma once

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

}  // namespace nibble
