#include "adamw.h"

#include <algorithm>
#include <cmath>

#include "launch.h"
#include "operators.h"

namespace nibble::cuda {

namespace {

AdamWFactors factors(const nibble_adamw& c) {
    const auto step = static_cast<double>(c.step);
    AdamWFactors f{};
    f.step_size = static_cast<float>(c.learning_rate / (1.0 - std::pow(c.beta1, step)));
    f.root_factor = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(c.beta2, step)));
    f.kept = static_cast<float>(1.0 - c.learning_rate * c.weight_decay);
    f.beta1 = static_cast<float>(c.beta1);
    f.beta2 = static_cast<float>(c.beta2);
    f.one_minus_beta1 = static_cast<float>(1.0 - c.beta1);
    f.one_minus_beta2 = static_cast<float>(1.0 - c.beta2);
    f.epsilon = static_cast<float>(c.epsilon);
    f.grad_scale = static_cast<float>(c.grad_scale);
    return f;
}

}  // namespace

void adamw_32bit(const nibble_adamw& config, float* param, const float* grad, float* moment1, float* moment2,
                 int64_t count) {
    launch("adamw_32bit_step",
           {std::min<int64_t>(ceil_div(count, kAdamWThreads), int64_t{32} * device()->multiprocessors)}, kAdamWThreads,
           0, AdamW32Arguments{factors(config), {param, count}, {grad, count}, {moment1, count}, {moment2, count}});
}

void adamw_8bit(const nibble_adamw& config, float* param, const float* grad, uint8_t* codes1, uint8_t* codes2,
                float* absmax1, float* absmax2, int64_t count) {
    const int64_t blocks = ceil_div(count, NIBBLE_ABSMAX_BLOCK);
    launch("adamw_8bit_step", {blocks}, kAdamWThreads, kAdamWShared,
           AdamW8Arguments{factors(config),
                           {param, count},
                           {grad, count},
                           {codes1, count},
                           {codes2, count},
                           {absmax1, blocks},
                           {absmax2, blocks}});
}

}  // namespace nibble::cuda
