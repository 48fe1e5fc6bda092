#include <algorithm>
#include <cmath>

#include "checks.h"
#include "dispatch.h"

using namespace nibble;

namespace {

void check_config(const Checks& check, const nibble_adamw* config) {
    if (config == nullptr) {
        check.fail("config is null");
    }
    check.positive("config.step", config->step);
    check.finite("config.grad_scale", config->grad_scale);
    for (const auto& [name, value] :
         {std::pair{"config.learning_rate", config->learning_rate}, std::pair{"config.epsilon", config->epsilon},
          std::pair{"config.weight_decay", config->weight_decay}}) {
        check.finite(name, value);
        if (value < 0.0) {
            check.fail(std::string(name) + " is " + std::to_string(value) + ", expected zero or a positive number");
        }
    }
    for (const auto& [name, beta] :
         {std::pair{"config.beta1", config->beta1}, std::pair{"config.beta2", config->beta2}}) {
        if (!(beta >= 0.0 && beta < 1.0)) {
            check.fail(std::string(name) + " is " + std::to_string(beta) + ", expected a number in [0, 1)");
        }
    }
}

// In float64 first, since 1 - beta2 would lose five digits in float32.
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

void check_rounding(const Checks& check, const nibble_rounding* rounding, int32_t grad_dtype) {
    if (rounding == nullptr) {
        check.fail("rounding is null");
    }
    check.not_negative("rounding.first", rounding->first);
    if (rounding->first % NIBBLE_ABSMAX_BLOCK != 0) {
        check.fail("rounding.first is " + std::to_string(rounding->first) + ", expected a multiple of 256");
    }
    if (rounding->parameter >= kRoundingLayer) {
        check.fail("rounding.parameter is " + std::to_string(rounding->parameter) + ", expected less than 2^31");
    }
    if (grad_dtype != NIBBLE_F32 && grad_dtype != NIBBLE_BF16) {
        check.fail("grad_dtype is " + std::to_string(grad_dtype) + ", expected float32 or bfloat16");
    }
}

RoundingName name(const nibble_rounding& rounding, const nibble_adamw& config) {
    return {rounding.seed, rounding.first, static_cast<uint32_t>(config.step), rounding.parameter};
}

}  // namespace

nibble_status nibble_adamw_step_32bit(const nibble_device* device, const nibble_adamw* config, float* param,
                                      const float* grad, float* moment1, float* moment2, int64_t count) {
    return guarded(device, [&] {
        const Checks check("adamw_step_32bit");
        check_config(check, config);
        check.not_negative("count", count);
        check.buffer("param", param, count, 4);
        check.buffer("grad", grad, count, 4);
        check.buffer("moment1", moment1, count, 4);
        check.buffer("moment2", moment2, count, 4);
        kernels().adamw_32bit(factors(*config), param, grad, moment1, moment2, count);
    });
}

nibble_status nibble_adamw_init_8bit(uint8_t* codes1, uint8_t* codes2, float* absmax1, float* absmax2, int64_t count) {
    return guarded([&] {
        const Checks check("adamw_init_8bit");
        check.not_negative("count", count);
        check.buffer("codes1", codes1, count, 1);
        check.buffer("codes2", codes2, count, 1);
        check.buffer("absmax1", absmax1, ceil_div(count, NIBBLE_ABSMAX_BLOCK), 4);
        check.buffer("absmax2", absmax2, ceil_div(count, NIBBLE_ABSMAX_BLOCK), 4);
        // A scale of zero makes any code mean zero.
        std::fill_n(codes1, count, uint8_t{0});
        std::fill_n(codes2, count, uint8_t{0});
        std::fill_n(absmax1, ceil_div(count, NIBBLE_ABSMAX_BLOCK), 0.0F);
        std::fill_n(absmax2, ceil_div(count, NIBBLE_ABSMAX_BLOCK), 0.0F);
    });
}

nibble_status nibble_adamw_step_8bit(const nibble_device* device, const nibble_adamw* config, float* param,
                                     const float* grad, uint8_t* codes1, uint8_t* codes2, float* absmax1,
                                     float* absmax2, int64_t count) {
    return guarded(device, [&] {
        const Checks check("adamw_step_8bit");
        check_config(check, config);
        check.not_negative("count", count);
        check.buffer("param", param, count, 4);
        check.buffer("grad", grad, count, 4);
        check.buffer("codes1", codes1, count, 1);
        check.buffer("codes2", codes2, count, 1);
        check.buffer("absmax1", absmax1, ceil_div(count, NIBBLE_ABSMAX_BLOCK), 4);
        check.buffer("absmax2", absmax2, ceil_div(count, NIBBLE_ABSMAX_BLOCK), 4);
        kernels().adamw_8bit(factors(*config), param, grad, codes1, codes2, absmax1, absmax2, count);
    });
}

nibble_status nibble_adamw_step_32bit_bf16(const nibble_device* device, const nibble_adamw* config,
                                           const nibble_rounding* rounding, uint16_t* param, nibble_dtype grad_dtype,
                                           const void* grad, float* moment1, float* moment2, int64_t count) {
    return guarded(device, [&] {
        const Checks check("adamw_step_32bit_bf16");
        check_config(check, config);
        check_rounding(check, rounding, grad_dtype);
        check.not_negative("count", count);
        check.buffer("param", param, count, 2);
        check.buffer("grad", grad, count, element_size(grad_dtype));
        check.buffer("moment1", moment1, count, 4);
        check.buffer("moment2", moment2, count, 4);
        kernels().adamw_32bit_rounded(factors(*config), name(*rounding, *config), param, grad_dtype, grad, moment1,
                                      moment2, count);
    });
}

nibble_status nibble_adamw_step_8bit_bf16(const nibble_device* device, const nibble_adamw* config,
                                          const nibble_rounding* rounding, uint16_t* param, nibble_dtype grad_dtype,
                                          const void* grad, uint8_t* codes1, uint8_t* codes2, float* absmax1,
                                          float* absmax2, int64_t count) {
    return guarded(device, [&] {
        const Checks check("adamw_step_8bit_bf16");
        check_config(check, config);
        check_rounding(check, rounding, grad_dtype);
        check.not_negative("count", count);
        check.buffer("param", param, count, 2);
        check.buffer("grad", grad, count, element_size(grad_dtype));
        check.buffer("codes1", codes1, count, 1);
        check.buffer("codes2", codes2, count, 1);
        check.buffer("absmax1", absmax1, ceil_div(count, NIBBLE_ABSMAX_BLOCK), 4);
        check.buffer("absmax2", absmax2, ceil_div(count, NIBBLE_ABSMAX_BLOCK), 4);
        kernels().adamw_8bit_rounded(factors(*config), name(*rounding, *config), param, grad_dtype, grad, codes1,
                                     codes2, absmax1, absmax2, count);
    });
}
