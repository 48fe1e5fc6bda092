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

// With gradients of zero a step is a code's value over the root of another's, of which one at a time is not 1.
TEST(AdamW, every_code_stands_for_its_value_in_the_map_on_every_instruction_set) {
    constexpr int64_t kCount = 2 * 256 + 37;
    const nibble_adamw config{1.0, 0.5, 0.5, 0.0, 0.0, 1.0, 1};
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        std::vector<float> param(kCount), grad(kCount), absmax1(3, 1.0F), absmax2(3, 1.0F);
        std::vector<uint8_t> codes1(kCount, 255), codes2(kCount, 255);
        std::vector<double> expected;
        for (int i = 0; i < kCount; ++i) {
            if (i < 256) {
                codes1[i] = static_cast<uint8_t>(i);
                expected.push_back(-nibble_dynamic_map_signed()[i]);
            } else {
                const int code = 1 + i % 255;  // The first stands for zero.
                codes2[i] = static_cast<uint8_t>(code);
                expected.push_back(-1.0 / std::sqrt(static_cast<double>(nibble_dynamic_map_unsigned()[code])));
            }
        }
        expect_ok(nibble_adamw_step_8bit(on(), &config, param.data(), grad.data(), codes1.data(), codes2.data(),
                                         absmax1.data(), absmax2.data(), kCount));
        for (int i = 0; i < kCount; ++i) {
            EXPECT_NEAR(param[i], expected[i], 1e-6 * std::fabs(expected[i])) << i;
        }
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

TEST(AdamW, a_block_without_gradients_between_others_gets_scales_and_codes_of_zero_on_every_instruction_set) {
    constexpr size_t kBlock = NIBBLE_ABSMAX_BLOCK;
    auto grad = random_values(3 * kBlock, 1);
    std::fill_n(grad.begin() + kBlock, kBlock, 0.0F);
    std::vector<uint8_t> zero1, zero2;
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        std::vector<float> param(grad.size()), absmax1(3), absmax2(3);
        std::vector<uint8_t> codes1(grad.size()), codes2(grad.size());
        expect_ok(nibble_adamw_step_8bit(on(), &kConfig, param.data(), grad.data(), codes1.data(), codes2.data(),
                                         absmax1.data(), absmax2.data(), static_cast<int64_t>(grad.size())));
        EXPECT_EQ(absmax1[1], 0.0F);
        EXPECT_EQ(absmax2[1], 0.0F);
        if (zero1.empty()) {
            zero1.assign(kBlock, codes1[kBlock]);
            zero2.assign(kBlock, codes2[kBlock]);
        }
        EXPECT_EQ(std::vector<uint8_t>(codes1.begin() + kBlock, codes1.begin() + 2 * kBlock), zero1);
        EXPECT_EQ(std::vector<uint8_t>(codes2.begin() + kBlock, codes2.begin() + 2 * kBlock), zero2);
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

namespace {

// Parameters, gradients and states of a rounded step; gradients are float32 or bfloat16.
struct RoundedStep {
    explicit RoundedStep(size_t count, nibble_dtype grad_dtype = NIBBLE_BF16)
        : param(NIBBLE_BF16, random_values(count, 1)),
          grad(grad_dtype, random_values(count, 2)),
          m(count),
          v(count),
          codes1(count),
          codes2(count),
          absmax1(count / NIBBLE_ABSMAX_BLOCK + 1),
          absmax2(absmax1),
          dtype(grad_dtype) {}

    uint16_t* bits() { return static_cast<uint16_t*>(param.data()); }

    void take(const nibble_adamw& config, const nibble_rounding& rounding, bool eight_bits, size_t begin = 0) {
        const auto count = static_cast<int64_t>(param.size() - begin);
        const void* slopes = static_cast<const char*>(grad.data()) + begin * (dtype == NIBBLE_F32 ? 4 : 2);
        const size_t block = begin / NIBBLE_ABSMAX_BLOCK;
        if (eight_bits) {
            expect_ok(nibble_adamw_step_8bit_bf16(on(), &config, &rounding, bits() + begin, dtype, slopes,
                                                  codes1.data() + begin, codes2.data() + begin, absmax1.data() + block,
                                                  absmax2.data() + block, count));
        } else {
            expect_ok(nibble_adamw_step_32bit_bf16(on(), &config, &rounding, bits() + begin, dtype, slopes,
                                                   m.data() + begin, v.data() + begin, count));
        }
    }

    Tensor param, grad;
    std::vector<float> m, v;
    std::vector<uint8_t> codes1, codes2;
    std::vector<float> absmax1, absmax2;
    nibble_dtype dtype;
};

// The tests' own Philox4x32-10, after the paper: word w of a counter.
uint32_t philox_word(const nibble_rounding& rounding, uint32_t step, uint64_t index, int w) {
    uint32_t c[4] = {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), step,
                     rounding.parameter | 0x80000000U};
    auto k0 = static_cast<uint32_t>(rounding.seed), k1 = static_cast<uint32_t>(rounding.seed >> 32);
    for (int round = 0; round < 10; ++round, k0 += 0x9E3779B9U, k1 += 0xBB67AE85U) {
        const uint64_t p0 = 0xD2511F53ULL * c[0], p1 = 0xCD9E8D57ULL * c[2];
        const uint32_t next[4] = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
                                  static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
        std::copy(next, next + 4, c);
    }
    return c[w];
}

}  // namespace

TEST(AdamW, a_bfloat16_parameter_gets_the_neighbour_that_its_random_bits_choose_and_the_same_on_every_machine) {
    const nibble_rounding rounding{0x123456789ABCDEFULL, int64_t{1} << 40, 77};
    nibble_adamw config{0.003, 0.8, 0.95, 1e-3, 0.3, 0.5, 1};
    for (const bool eight_bits : {false, true}) {
        for (const nibble_dtype dtype : {NIBBLE_F32, NIBBLE_BF16}) {
            std::unique_ptr<RoundedStep> first;
            for (const Machine& machine : machines({NIBBLE_F32})) {
                const Using use(machine);
                RoundedStep own(1000, dtype);
                for (config.step = 1; config.step <= 3; ++config.step) {
                    const Tensor before = own.param;
                    std::vector<double> m(own.m.begin(), own.m.end()), v(own.v.begin(), own.v.end());
                    own.take(config, rounding, eight_bits);
                    for (size_t i = 0; !eight_bits && i < 1000; ++i) {
                        const double g = own.grad[i] * config.grad_scale, t = static_cast<double>(config.step);
                        const double m1 = config.beta1 * m[i] + (1 - config.beta1) * g;
                        const double m2 = config.beta2 * v[i] + (1 - config.beta2) * g * g;
                        const double exact = before[i] * (1 - config.learning_rate * config.weight_decay) -
                                             config.learning_rate * m1 / (1 - std::pow(config.beta1, t)) /
                                                 (std::sqrt(m2 / (1 - std::pow(config.beta2, t))) + config.epsilon);
                        // Away from zero where the discarded fraction and the random one are more than a whole.
                        const double unit = std::ldexp(1.0, std::ilogb(exact) - 7);
                        const double kept = std::trunc(exact / unit);
                        const uint64_t counter = (uint64_t{1} << 40) / 8 + i / 128 * 16 + i % 16;
                        const auto half = static_cast<int>(i % 128 / 16);
                        const uint32_t word =
                            philox_word(rounding, static_cast<uint32_t>(config.step), counter, half / 2);
                        const double random = (word >> (half % 2 * 16) & 0xFFFFU) / 65536.0;
                        const double sum = std::fabs(exact / unit - kept) + random;
                        if (std::fabs(sum - 1) > 2e-3) {  // Nearer, rounding to float32 decides.
                            ASSERT_EQ(own.param[i], (kept + (sum > 1 ? std::copysign(1.0, exact) : 0)) * unit) << i;
                        }
                    }
                }
                if (first == nullptr) {
                    first = std::make_unique<RoundedStep>(own);
                }
                EXPECT_TRUE(own.param == first->param) << machine.isa << " " << machine.gpu;
                EXPECT_EQ(own.m, first->m);
                EXPECT_EQ(own.codes1, first->codes1);
                EXPECT_EQ(own.codes2, first->codes2);
            }
        }
    }
}

TEST(AdamW, rounding_is_without_bias_though_every_update_is_smaller_than_half_the_distance_of_neighbours) {
    constexpr int kCount = 1 << 16;
    constexpr int kSteps = 40;
    RoundedStep own(kCount);
    own.param = Tensor(NIBBLE_BF16, std::vector<float>(kCount, 1.0F));
    own.grad = Tensor(NIBBLE_BF16, std::vector<float>(kCount, -1.0F));
    nibble_adamw config{1e-4, 0.0, 0.0, 0.0, 0.0, 1.0, 1};  // Each step adds 1e-4; neighbours are 2^-7 apart.
    for (config.step = 1; config.step <= kSteps; ++config.step) {
        own.take(config, {42, 0, 3}, false);
    }
    double sum = 0;
    for (size_t i = 0; i < kCount; ++i) {
        sum += own.param[i] - 1;
    }
    // The number of neighbours gone up is binomial: five standard deviations.
    const double p = 1e-4 * 128;
    const double deviation = std::sqrt(kSteps * p * (1 - p) / kCount) / 128;
    EXPECT_NEAR(sum / kCount, kSteps * 1e-4, 5 * deviation);
}

TEST(AdamW, the_bits_that_round_depend_on_names_alone_and_not_on_threads_or_slices) {
    const nibble_adamw config{1e-3, 0.9, 0.999, 1e-8, 0.01, 1.0, 5};
    for (const bool eight_bits : {false, true}) {
        const auto result = [&](const nibble_rounding& rounding, int threads = 2, size_t cut = 0) {
            expect_ok(nibble_set_num_threads(threads));
            RoundedStep own(70000);
            if (cut > 0) {
                RoundedStep back = own;
                back.take(config, {rounding.seed, rounding.first + static_cast<int64_t>(cut), rounding.parameter},
                          eight_bits, cut);
                own.take(config, rounding, eight_bits);
                std::copy(back.bits() + cut, back.bits() + back.param.size(), own.bits() + cut);
            } else {
                own.take(config, rounding, eight_bits);
            }
            expect_ok(nibble_set_num_threads(2));
            return own.param;
        };
        const Tensor whole = result({7, 0, 1});
        EXPECT_TRUE(whole == result({7, 0, 1}, 1));
        EXPECT_TRUE(whole == result({7, 0, 1}, 2, 40 * 256));
        EXPECT_FALSE(whole == result({8, 0, 1}));
        EXPECT_FALSE(whole == result({7, 0, 2}));
        EXPECT_FALSE(whole == result({7, 256, 1}));
    }
}

TEST(AdamW, values_that_are_not_finite_stay_so_when_they_are_rounded) {
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        RoundedStep own(300);
        own.bits()[5] = 0x7FFF;
        own.bits()[6] = 0x7F80;
        own.bits()[7] = 0xFFFF;
        own.take(kConfig, {1, 0, 0}, false);
        EXPECT_TRUE(std::isnan(own.param[5]) && std::isnan(own.param[7]));
        EXPECT_EQ(own.param[6], INFINITY);
    }
}
