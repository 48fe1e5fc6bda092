#include <limits>

#include "support.h"

using namespace nibble_test;

namespace {

const nibble_adamw kConfig{1e-3, 0.9, 0.999, 1e-8, 0.01, 1.0, 1};

}  // namespace

TEST(AdamW, five_steps_equal_the_golden_parameters_with_float32_states_on_every_instruction_set) {
    REQUIRE_GOLDEN_VECTORS();
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        auto param = golden<float>("adamw.param0");
        std::vector<float> m(param.size()), v(param.size());
        nibble_adamw config = kConfig;
        for (config.step = 1; config.step <= 5; ++config.step) {
            const auto grad = golden<float>("adamw.grad" + std::to_string(config.step));
            expect_ok(nibble_adamw_step_32bit(on(), &config, param.data(), grad.data(), m.data(), v.data(),
                                              static_cast<int64_t>(param.size())));
        }
        expect_close(param, golden<float>("adamw.param5_f32"), 1e-5, "param");
    }
}

TEST(AdamW, five_steps_equal_the_golden_parameters_and_states_with_8_bit_states_on_every_instruction_set) {
    REQUIRE_GOLDEN_VECTORS();
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        auto param = golden<float>("adamw.param0");
        const auto count = static_cast<int64_t>(param.size());
        std::vector<uint8_t> codes1(param.size(), 9), codes2(param.size(), 9);
        std::vector<float> absmax1(5, 9.0F), absmax2(5, 9.0F);
        expect_ok(nibble_adamw_init_8bit(codes1.data(), codes2.data(), absmax1.data(), absmax2.data(), count));
        nibble_adamw config = kConfig;
        for (config.step = 1; config.step <= 5; ++config.step) {
            const auto grad = golden<float>("adamw.grad" + std::to_string(config.step));
            expect_ok(nibble_adamw_step_8bit(on(), &config, param.data(), grad.data(), codes1.data(), codes2.data(),
                                             absmax1.data(), absmax2.data(), count));
        }
        expect_close(param, golden<float>("adamw.param5_q8"), 1e-5, "param");
        expect_close(absmax1, golden<float>("adamw.absmax1"), 1e-5, "absmax1");
        expect_close(absmax2, golden<float>("adamw.absmax2"), 1e-5, "absmax2");
        EXPECT_EQ(codes1, golden<uint8_t>("adamw.state1"));
        EXPECT_EQ(codes2, golden<uint8_t>("adamw.state2"));
    }
}

// With beta 0 the moments are the gradient and its square, and with a gradient of 1 in their block their scale is 1.
TEST(AdamW, every_grid_point_gets_its_nearest_code_on_every_instruction_set) {
    constexpr int kGrid = 65536;
    constexpr int kBlock = NIBBLE_ABSMAX_BLOCK;
    const auto nearest = [](const float* map, float value) {
        const float point = static_cast<float>(static_cast<int>((value + 1.0F) * 32767.5F + 0.5F)) / 32767.5F - 1.0F;
        int best = 0;
        for (int code = 1; code < 256; ++code) {
            best = std::fabs(map[code] - point) < std::fabs(map[best] - point) ? code : best;
        }
        return static_cast<uint8_t>(best);
    };
    std::vector<float> grad;
    const auto add = [&](float value) {
        if (grad.size() % kBlock == 0) {
            grad.push_back(1.0F);
        }
        grad.push_back(value);
    };
    for (int i = 0; i < kGrid; ++i) {
        const float point = static_cast<float>(i) / 32767.5F - 1.0F;
        add(point);
        add(point < 0.0F ? point : std::sqrt(point));
    }
    std::vector<uint8_t> first, second;
    for (const float g : grad) {
        first.push_back(nearest(nibble_dynamic_map_signed(), g));
        second.push_back(nearest(nibble_dynamic_map_unsigned(), g * g));
    }
    const auto count = static_cast<int64_t>(grad.size());
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        std::vector<float> param(grad.size()), absmax1(grad.size() / kBlock + 1), absmax2(absmax1);
        std::vector<uint8_t> codes1(grad.size()), codes2(grad.size());
        expect_ok(nibble_adamw_init_8bit(codes1.data(), codes2.data(), absmax1.data(), absmax2.data(), count));
        const nibble_adamw config{1e-3, 0.0, 0.0, 1e-8, 0.0, 1.0, 1};
        expect_ok(nibble_adamw_step_8bit(on(), &config, param.data(), grad.data(), codes1.data(), codes2.data(),
                                         absmax1.data(), absmax2.data(), count));
        EXPECT_EQ(codes1, first);
        EXPECT_EQ(codes2, second);
    }
}

TEST(AdamW, steps_equal_float64_with_every_setting_on_every_instruction_set) {
    nibble_adamw config{0.02, 0.8, 0.95, 0.1, 0.3, 0.5, 1};
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        auto param = random_values(301, 1);
        std::vector<float> m(301), v(301);
        std::vector<double> ep(param.begin(), param.end()), em(301), ev(301);
        for (config.step = 1; config.step <= 4; ++config.step) {
            const auto grad = random_values(301, static_cast<uint32_t>(config.step));
            expect_ok(nibble_adamw_step_32bit(on(), &config, param.data(), grad.data(), m.data(), v.data(), 301));
            for (size_t i = 0; i < 301; ++i) {
                const double g = static_cast<double>(grad[i]) * config.grad_scale;
                em[i] = config.beta1 * em[i] + (1 - config.beta1) * g;
                ev[i] = config.beta2 * ev[i] + (1 - config.beta2) * g * g;
                const auto t = static_cast<double>(config.step);
                const double step = em[i] / (1 - std::pow(config.beta1, t)) /
                                    (std::sqrt(ev[i] / (1 - std::pow(config.beta2, t))) + config.epsilon);
                ep[i] -= config.learning_rate * (config.weight_decay * ep[i] + step);
            }
        }
        expect_close(param, ep, 1e-6, "param");
        expect_close(m, em, 1e-6, "moment1");
        expect_close(v, ev, 1e-6, "moment2");
    }
}

TEST(AdamW, a_gradient_that_is_not_finite_poisons_its_block_of_8_bit_states_and_no_other) {
    for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                              -std::numeric_limits<float>::infinity()}) {
        for (const Machine& machine : machines({NIBBLE_F32})) {
            const Using use(machine);
            auto param = random_values(300, 1);
            auto grad = random_values(300, 2);
            grad[5] = wrong;
            std::vector<uint8_t> codes1(300), codes2(300);
            std::vector<float> absmax1(2), absmax2(2);
            expect_ok(nibble_adamw_init_8bit(codes1.data(), codes2.data(), absmax1.data(), absmax2.data(), 300));
            nibble_adamw config = kConfig;
            expect_ok(nibble_adamw_step_8bit(on(), &config, param.data(), grad.data(), codes1.data(), codes2.data(),
                                             absmax1.data(), absmax2.data(), 300));
            EXPECT_TRUE(std::isnan(absmax1[0]) && std::isnan(absmax2[0]));
            EXPECT_TRUE(std::isnan(param[5]));
            grad[5] = 0;
            ++config.step;
            expect_ok(nibble_adamw_step_8bit(on(), &config, param.data(), grad.data(), codes1.data(), codes2.data(),
                                             absmax1.data(), absmax2.data(), 300));
            EXPECT_TRUE(std::isnan(param[255]));
            EXPECT_TRUE(std::isfinite(param[256]) && std::isfinite(param[299]));
        }
    }
}

TEST(AdamW, a_gradient_scale_equals_scaled_gradients) {
    auto first = random_values(300, 1);
    auto second = first;
    auto grad = random_values(300, 2);
    std::vector<float> m1(300), v1(300), m2(300), v2(300);
    nibble_adamw config = kConfig;
    config.grad_scale = 0.25;
    expect_ok(nibble_adamw_step_32bit(on(), &config, first.data(), grad.data(), m1.data(), v1.data(), 300));
    for (float& value : grad) {
        value *= 0.25F;
    }
    expect_ok(nibble_adamw_step_32bit(on(), &kConfig, second.data(), grad.data(), m2.data(), v2.data(), 300));
    EXPECT_EQ(first, second);
}
