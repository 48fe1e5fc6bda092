// What a caller gets wrong is refused with a text that names operator and argument; nothing crashes.
#include <atomic>
#include <thread>

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
        return nibble_linear_forward(on(), &weight, nullptr, &lora, static_cast<nibble_dtype>(dtype), input, nullptr, m,
                                     y.data(), nullptr);
    }
};

}  // namespace

TEST_F(LinearArguments, null_negative_misaligned_and_unknown_arguments_are_refused) {
    expect_ok(forward(x.data()));
    expect_refused(forward(nullptr), "linear_forward: x is null");
    expect_refused(forward(x.data(), -1), "m is -1");
    expect_refused(forward(reinterpret_cast<const char*>(x.data()) + 1), "x is not aligned");
    expect_refused(forward(x.data(), 2, 9), "dtype is 9");
    expect_refused(
        nibble_linear_forward(on(), nullptr, nullptr, nullptr, NIBBLE_F32, x.data(), nullptr, 2, y.data(), nullptr),
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
    lora.dropout = -0.1F;
    expect_refused(forward(x.data()), "lora.dropout");
    lora.dropout = std::numeric_limits<float>::quiet_NaN();
    expect_refused(forward(x.data()), "lora.dropout");
    lora.dropout = 0;
    lora.a = nullptr;
    expect_refused(forward(x.data()), "lora.a is null");
    lora.a = a.data();
    lora.b = nullptr;
    expect_refused(forward(x.data()), "lora.b is null");
}

TEST_F(LinearArguments, a_residual_without_the_result_that_it_is_a_part_of_is_refused) {
    const auto forward = [&](float* to) {
        return nibble_linear_forward(on(), &weight, nullptr, &lora, NIBBLE_F32, x.data(), y.data(), 2, to, nullptr);
    };
    expect_refused(forward(nullptr), "residual is a part of y, but y is null");
    expect_ok(forward(y.data()));
    std::vector<float> da(a.size()), db(b.size());
    const auto backward = [&](float* dx) {
        return nibble_linear_backward(on(), &weight, &lora, NIBBLE_F32, x.data(), nullptr, y.data(), x.data(), 2, dx,
                                      da.data(), db.data());
    };
    expect_refused(backward(nullptr), "residual is a part of dx, but dx is null");
    std::vector<float> dx(x.size());
    expect_ok(backward(dx.data()));
}

TEST_F(LinearArguments, no_rows_are_no_work) {
    expect_ok(forward(x.data(), 0));
}

TEST(Arguments, sizes_that_no_memory_can_have_are_refused) {
    const auto x = random_values(8, 1);
    std::vector<float> y(8);
    std::vector<uint8_t> codes(8);
    nibble_weight weight{};
    weight.rows = INT64_MAX;
    weight.cols = 1;
    weight.format = NIBBLE_WEIGHT_NF4;
    weight.data = codes.data();
    weight.absmax = x.data();
    expect_refused(nibble_dequantize(on(), &weight, NIBBLE_F32, y.data()), "more than a process can address");
    expect_refused(nibble_adamw_init_8bit(codes.data(), codes.data(), y.data(), y.data(), INT64_MAX),
                   "more than a process can address");
    expect_refused(nibble_rms_norm_backward(on(), NIBBLE_BF16, x.data(), x.data(), x.data(), x.data(), nullptr, 0,
                                            INT64_MAX / NIBBLE_MAX_THREADS, y.data(), y.data()),
                   "more than a process can address");
    expect_refused(nibble_swiglu_forward(on(), NIBBLE_F32, x.data(), x.data(), INT64_MAX, y.data()), "does not fit");
}

TEST(Arguments, nothing_to_do_needs_no_buffers) {
    const auto weight = random_values(8, 1);
    const nibble_adamw config{1e-3, 0.9, 0.999, 1e-8, 0, 1, 1};
    std::vector<float> dweight(8, 9.0F);
    nibble_weight head{};
    head.rows = 2;
    head.cols = 4;
    head.data = weight.data();
    for (const Machine& machine : machines({NIBBLE_F32})) {
        const Using use(machine);
        expect_ok(nibble_nf4_quantize(on(), NIBBLE_BF16, nullptr, 0, nullptr, nullptr));
        expect_ok(nibble_rms_norm_forward(on(), NIBBLE_F32, nullptr, nullptr, weight.data(), 0, 8, 0, nullptr, nullptr,
                                          nullptr));
        expect_ok(nibble_rms_norm_backward(on(), NIBBLE_F32, nullptr, weight.data(), nullptr, nullptr, nullptr, 0, 8,
                                           nullptr, dweight.data()));
        EXPECT_EQ(dweight, std::vector<float>(8));
        expect_ok(nibble_rope(on(), NIBBLE_F16, nullptr, nullptr, nullptr, 0, 1, 8, 8, 0, nullptr));
        expect_ok(nibble_swiglu_forward(on(), NIBBLE_F32, nullptr, nullptr, 0, nullptr));
        expect_ok(nibble_swiglu_backward(on(), NIBBLE_F32, nullptr, nullptr, nullptr, 0, nullptr, nullptr));
        expect_ok(nibble_linear_cross_entropy_forward(on(), &head, NIBBLE_F32, nullptr, nullptr, 0, nullptr, nullptr,
                                                      nullptr));
        expect_ok(nibble_linear_cross_entropy_backward(on(), &head, NIBBLE_F32, nullptr, nullptr, 0, nullptr, nullptr,
                                                       nullptr, nullptr));
        expect_ok(nibble_adamw_init_8bit(nullptr, nullptr, nullptr, nullptr, 0));
        expect_ok(nibble_adamw_step_8bit(on(), &config, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 0));
        expect_ok(nibble_adamw_step_32bit(on(), &config, nullptr, nullptr, nullptr, nullptr, 0));
    }
}

TEST(Arguments, of_the_layers_are_checked) {
    const auto x = random_values(8, 1);
    std::vector<float> y(8);
    expect_refused(
        nibble_rms_norm_forward(on(), NIBBLE_F32, x.data(), nullptr, x.data(), 1, 0, 0, nullptr, y.data(), nullptr),
        "cols is 0");
    expect_refused(
        nibble_rms_norm_forward(on(), NIBBLE_F32, x.data(), x.data(), x.data(), 1, 4, 0, nullptr, y.data(), nullptr),
        "update and sum must both be given");
    expect_refused(nibble_rope(on(), NIBBLE_F32, x.data(), x.data(), x.data(), 1, 1, 8, 7, 0, y.data()),
                   "rotary_dim is 7");
    expect_refused(nibble_swiglu_forward(on(), NIBBLE_F32, x.data(), nullptr, 8, y.data()), "up is null");
    nibble_adamw config{1e-3, 0.9, 0.999, 1e-8, 0, 1, 0};
    expect_refused(nibble_adamw_step_32bit(on(), &config, y.data(), x.data(), y.data(), y.data(), 8),
                   "config.step is 0");
    config.step = 1;
    for (double nibble_adamw::*const setting :
         {&nibble_adamw::learning_rate, &nibble_adamw::epsilon, &nibble_adamw::weight_decay}) {
        nibble_adamw wrong = config;
        wrong.*setting = -0.1;
        expect_refused(nibble_adamw_step_32bit(on(), &wrong, y.data(), x.data(), y.data(), y.data(), 8), "is -0.1");
    }
    std::vector<uint16_t> half(8);
    const auto rounded = [&](const nibble_rounding* rounding, nibble_dtype dtype) {
        return nibble_adamw_step_32bit_bf16(on(), &config, rounding, half.data(), dtype, x.data(), y.data(), y.data(),
                                            8);
    };
    const nibble_rounding inside{1, 128, 0}, unnamed{1, 0, 1U << 31}, right{1, 0, 0};
    expect_refused(rounded(nullptr, NIBBLE_F32), "rounding is null");
    expect_refused(rounded(&inside, NIBBLE_F32), "rounding.first is 128, expected a multiple of 256");
    expect_refused(rounded(&unnamed, NIBBLE_F32), "rounding.parameter is 2147483648");
    expect_refused(rounded(&right, NIBBLE_F16), "grad_dtype is 2");
    config.beta1 = 1;
    expect_refused(nibble_adamw_step_32bit(on(), &config, y.data(), x.data(), y.data(), y.data(), 8), "config.beta1");
}

TEST(Library, refuses_instruction_sets_that_the_machine_lacks_and_thread_counts_below_one) {
    expect_refused(nibble_set_isa(static_cast<nibble_isa>(nibble_best_isa() + 1)), "not to be had");
    expect_refused(nibble_set_num_threads(0), "threads is 0");
    EXPECT_EQ(nibble_abi_version(), NIBBLE_ABI_VERSION);
}

TEST(Library, tells_the_thread_count_and_the_instruction_set_that_were_set) {
    for (const int32_t threads : {3, NIBBLE_MAX_THREADS, 2}) {
        expect_ok(nibble_set_num_threads(threads));
        EXPECT_EQ(nibble_get_num_threads(), threads);
    }
    for (int isa = 0; isa <= nibble_best_isa(); ++isa) {
        expect_ok(nibble_set_isa(static_cast<nibble_isa>(isa)));
        EXPECT_EQ(nibble_get_isa(), isa);
    }
}

TEST(Library, refuses_more_threads_than_the_documented_most) {
    expect_refused(nibble_set_num_threads(NIBBLE_MAX_THREADS + 1), "expected 1 to 1024");
    expect_refused(nibble_set_num_threads(INT32_MAX), "expected 1 to 1024");
    EXPECT_LE(nibble_get_num_threads(), NIBBLE_MAX_THREADS);
}

TEST(Library, a_call_keeps_its_thread_count_while_another_thread_changes_it) {
    const auto values = random_values(6000 * 8, 1, 0.1F);
    nibble_weight head{};
    head.rows = 6000;
    head.cols = 8;
    head.data = values.data();
    const std::vector<int64_t> labels(20, 7);
    std::vector<float> loss(20), lse(20);
    std::atomic<int> changes{0};
    std::atomic<bool> done{false};
    std::thread changer([&] {
        for (; !done; ++changes) {
            (void)nibble_set_num_threads(changes % 2 == 0 ? 1 : 8);
        }
    });
    std::vector<float> expected;
    for (int run = 0; run < 2000 || changes < 2000; ++run) {
        expect_ok(nibble_linear_cross_entropy_forward(on(), &head, NIBBLE_F32, values.data(), labels.data(), 20,
                                                      loss.data(), lse.data(), nullptr));
        if (run == 0) {
            expected = loss;
        }
        expect_close(loss, expected, 1e-6, "loss");
    }
    done = true;
    changer.join();
    expect_ok(nibble_set_num_threads(2));
}

TEST(Library, memory_that_cannot_be_had_is_a_status) {
    float value = 1;
    expect_ok(nibble_set_num_threads(NIBBLE_MAX_THREADS));
    EXPECT_EQ(nibble_rms_norm_backward(on(), NIBBLE_F32, nullptr, &value, nullptr, nullptr, nullptr, 0,
                                       int64_t{1} << 45, nullptr, &value),
              NIBBLE_OUT_OF_MEMORY);
    EXPECT_STREQ(nibble_last_error(), "out of memory for scratch buffers");
    expect_ok(nibble_set_num_threads(2));
}

TEST(Library, the_error_text_goes_with_the_next_success) {
    expect_refused(nibble_set_num_threads(-3), "threads is -3");
    expect_ok(nibble_set_num_threads(2));
    EXPECT_STREQ(nibble_last_error(), "");
}
