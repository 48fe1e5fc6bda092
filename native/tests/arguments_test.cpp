// What a caller gets wrong is refused with a text that names operator and argument; nothing crashes.
#include "support.h"

using namespace nibble_test;

namespace {

void expect_refused(nibble_status status, const std::string& part) {
    EXPECT_EQ(status, NIBBLE_INVALID_ARGUMENT);
    EXPECT_NE(std::string(nibble_last_error()).find(part), std::string::npos) << nibble_last_error();
}

struct LinearArguments : testing::Test {
    std::vector<float> values = random_values(4 * 8, 1);
    std::vector<float> x = random_values(2 * 8, 2);
    std::vector<float> y = std::vector<float>(8);
    std::vector<float> a = random_values(2 * 8, 3);
    std::vector<float> b = random_values(4 * 2, 4);
    nibble_weight weight{4, 8, NIBBLE_WEIGHT_F32, 0, values.data(), nullptr, nullptr, nullptr};
    nibble_lora lora{2, 1, 0, a.data(), b.data(), 0, 0, 0};

    nibble_status forward(const void* input, int64_t m = 2, int dtype = 0) {
        return nibble_linear_forward(&weight, nullptr, &lora, static_cast<nibble_dtype>(dtype), input, m, y.data(),
                                     nullptr);
    }
};

}  // namespace

TEST_F(LinearArguments, null_negative_misaligned_and_unknown_arguments_are_refused) {
    expect_ok(forward(x.data()));
    expect_refused(forward(nullptr), "linear_forward: x is null");
    expect_refused(forward(x.data(), -1), "m is -1");
    expect_refused(forward(reinterpret_cast<const char*>(x.data()) + 1), "x is not aligned");
    expect_refused(forward(x.data(), 2, 9), "dtype is 9");
    expect_refused(nibble_linear_forward(nullptr, nullptr, nullptr, NIBBLE_F32, x.data(), 2, y.data(), nullptr),
                   "weight is null");
}

TEST_F(LinearArguments, impossible_weights_are_refused) {
    weight.rows = 0;
    expect_refused(forward(x.data()), "weight.rows is 0");
    weight.rows = INT64_MAX;
    expect_refused(forward(x.data()), "does not fit");
    weight.rows = 4;
    weight.format = 12;
    expect_refused(forward(x.data()), "weight.format is 12");
    weight.format = NIBBLE_WEIGHT_NF4;
    expect_refused(forward(x.data()), "absmax_codes");
}

TEST_F(LinearArguments, impossible_adapters_are_refused) {
    lora.rank = 0;
    expect_refused(forward(x.data()), "lora.rank is 0");
    lora.rank = 2;
    lora.dropout = 1.0F;
    expect_refused(forward(x.data()), "lora.dropout");
    lora.dropout = std::numeric_limits<float>::quiet_NaN();
    expect_refused(forward(x.data()), "lora.dropout");
    lora.dropout = 0;
    lora.a = nullptr;
    expect_refused(forward(x.data()), "lora.a is null");
}

TEST_F(LinearArguments, no_rows_are_no_work) {
    expect_ok(forward(x.data(), 0));
}

TEST(Arguments, of_the_layers_are_checked) {
    const auto x = random_values(8, 1);
    std::vector<float> y(8);
    expect_refused(nibble_rms_norm_forward(NIBBLE_F32, x.data(), x.data(), 1, 0, 0, y.data(), nullptr), "cols is 0");
    expect_refused(nibble_rope(NIBBLE_F32, x.data(), x.data(), x.data(), 1, 1, 8, 7, 0, y.data()), "rotary_dim is 7");
    expect_refused(nibble_swiglu_forward(NIBBLE_F32, x.data(), nullptr, 8, y.data()), "up is null");
    nibble_adamw config{1e-3, 0.9, 0.999, 1e-8, 0, 1, 0};
    expect_refused(nibble_adamw_step_32bit(&config, y.data(), x.data(), y.data(), y.data(), 8), "config.step is 0");
    config.step = 1;
    config.beta1 = 1;
    expect_refused(nibble_adamw_step_32bit(&config, y.data(), x.data(), y.data(), y.data(), 8), "config.beta1");
}

TEST(Library, refuses_instruction_sets_that_the_machine_lacks_and_thread_counts_below_one) {
    expect_refused(nibble_set_isa(static_cast<nibble_isa>(nibble_best_isa() + 1)), "not to be had");
    expect_refused(nibble_set_num_threads(0), "threads is 0");
    EXPECT_EQ(nibble_abi_version(), NIBBLE_ABI_VERSION);
}

TEST(Library, the_error_text_goes_with_the_next_success) {
    expect_refused(nibble_set_num_threads(-3), "threads is -3");
    expect_ok(nibble_set_num_threads(2));
    EXPECT_STREQ(nibble_last_error(), "");
}
