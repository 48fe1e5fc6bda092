#include <limits>

#include "support.h"

using namespace nibble_test;

class Layers : public OnEachMachine {};
INSTANTIATE_TEST_SUITE_P(Each, Layers, testing::ValuesIn(machines()), name_of);

TEST_P(Layers, rms_norm_and_its_gradients_equal_float64) {
    const nibble_dtype dtype = GetParam().dtype;
    for (const auto& [rows, cols] : {std::pair<size_t, size_t>{1, 64}, {3, 172}, {17, 7}, {129, 65}, {2, 2500}}) {
        // So small that eps counts.
        const Tensor x(dtype, random_values(rows * cols, 1, 0.01F));
        const Tensor dy(dtype, random_values(rows * cols, 2));
        const auto weight = random_values(cols, 3);
        Tensor y(dtype, rows * cols);
        Tensor dx(dtype, rows * cols);
        std::vector<float> inverse(rows);
        std::vector<float> dweight(cols);
        const auto r = static_cast<int64_t>(rows);
        const auto c = static_cast<int64_t>(cols);
        expect_ok(nibble_rms_norm_forward(on(), dtype, x.data(), nullptr, weight.data(), r, c, 1e-5F, nullptr, y.data(),
                                          inverse.data()));
        expect_ok(nibble_rms_norm_backward(on(), dtype, x.data(), weight.data(), inverse.data(), dy.data(), nullptr, r,
                                           c, dx.data(), dweight.data()));
        std::vector<double> ey(y.size()), edx(dx.size()), edw(cols);
        for (size_t i = 0; i < rows; ++i) {
            double squares = 0;
            double dot = 0;
            for (size_t j = 0; j < cols; ++j) {
                squares += x[i * cols + j] * x[i * cols + j];
                dot += dy[i * cols + j] * static_cast<double>(weight[j]) * x[i * cols + j];
            }
            const double inv = 1 / std::sqrt(squares / static_cast<double>(cols) + static_cast<double>(1e-5F));
            for (size_t j = 0; j < cols; ++j) {
                const size_t e = i * cols + j;
                ey[e] = x[e] * inv * static_cast<double>(weight[j]);
                edx[e] = dy[e] * static_cast<double>(weight[j]) * inv -
                         x[e] * dot * inv * inv * inv / static_cast<double>(cols);
                edw[j] += dy[e] * x[e] * inv;
            }
        }
        expect_close(y, ey, tolerance(dtype), "y");
        expect_close(dx, edx, tolerance(dtype), "dx");
        expect_close(dweight, edw, 2e-5, "dweight");
    }
}

TEST_P(Layers, rms_norm_of_a_sum_and_its_gradient_equal_sum_and_norm_one_after_the_other) {
    const nibble_dtype dtype = GetParam().dtype;
    constexpr int64_t kRows = 5;
    constexpr int64_t kCols = 171;
    constexpr size_t kCount = kRows * kCols;
    const Tensor x(dtype, random_values(kCount, 1));
    const Tensor update(dtype, random_values(kCount, 2));
    const Tensor dy(dtype, random_values(kCount, 3));
    const Tensor residual(dtype, random_values(kCount, 4));
    const auto weight = random_values(kCols, 5);
    std::vector<double> expected_sum(kCount);
    for (size_t i = 0; i < kCount; ++i) {
        expected_sum[i] = x[i] + update[i];
    }
    Tensor sum(dtype, kCount), y(dtype, kCount), plain_y(dtype, kCount), dx(dtype, kCount), plain_dx(dtype, kCount);
    std::vector<float> inverse(kRows), plain_inverse(kRows);
    expect_ok(nibble_rms_norm_forward(on(), dtype, x.data(), update.data(), weight.data(), kRows, kCols, 1e-5F,
                                      sum.data(), y.data(), inverse.data()));
    expect_close(sum, expected_sum, tolerance(dtype), "sum");
    expect_ok(nibble_rms_norm_forward(on(), dtype, sum.data(), nullptr, weight.data(), kRows, kCols, 1e-5F, nullptr,
                                      plain_y.data(), plain_inverse.data()));
    EXPECT_EQ(inverse, plain_inverse);
    expect_ok(nibble_rms_norm_backward(on(), dtype, sum.data(), weight.data(), inverse.data(), dy.data(),
                                       residual.data(), kRows, kCols, dx.data(), nullptr));
    expect_ok(nibble_rms_norm_backward(on(), dtype, sum.data(), weight.data(), inverse.data(), dy.data(), nullptr,
                                       kRows, kCols, plain_dx.data(), nullptr));
    std::vector<double> expected_dx(kCount);
    for (size_t i = 0; i < kCount; ++i) {
        EXPECT_EQ(y[i], plain_y[i]) << i;
        expected_dx[i] = plain_dx[i] + residual[i];
    }
    expect_close(dx, expected_dx, tolerance(dtype), "dx");
}

TEST_P(Layers, rms_norm_gradients_repeat_to_the_bit_and_hardly_differ_between_thread_counts) {
    constexpr int64_t kRows = 300;
    const size_t cols = current_gpu == nullptr ? 1901 : 70;  // Enough to keep several threads of a CPU busy.
    const nibble_dtype dtype = GetParam().dtype;
    const Tensor x(dtype, random_values(kRows * cols, 1));
    const Tensor dy(dtype, random_values(kRows * cols, 2));
    const auto weight = random_values(cols, 3);
    const auto inverse = random_values(kRows, 4);
    std::vector<float> first;
    for (const int threads : {1, 2, 3, 5, 64}) {
        expect_ok(nibble_set_num_threads(threads));
        std::vector<std::vector<float>> runs;
        for (int run = 0; run < 2; ++run) {
            Tensor dx(dtype, x.size());
            std::vector<float>& dweight = runs.emplace_back(cols);
            expect_ok(nibble_rms_norm_backward(on(), dtype, x.data(), weight.data(), inverse.data(), dy.data(), nullptr,
                                               kRows, static_cast<int64_t>(cols), dx.data(), dweight.data()));
        }
        EXPECT_EQ(runs[0], runs[1]) << threads << " threads";
        first = first.empty() ? runs[0] : first;
        expect_close(runs[0], first, 4e-6, "dweight");
    }
}

TEST_P(Layers, rope_turns_by_the_angle_and_back_also_in_place_and_leaves_the_rest_of_a_head) {
    const nibble_dtype dtype = GetParam().dtype;
    const int64_t tokens = 17;
    const int64_t heads = 3;
    for (const auto& [head_dim, rotary] : {std::pair<int64_t, int64_t>{16, 16}, {24, 10}}) {
        const auto count = static_cast<size_t>(tokens * heads * head_dim);
        const Tensor x(dtype, random_values(count, 1));
        std::vector<float> cos, sin;
        for (int64_t i = 0; i < tokens * rotary / 2; ++i) {
            cos.push_back(std::cos(0.37F * static_cast<float>(i)));
            sin.push_back(std::sin(0.37F * static_cast<float>(i)));
        }
        Tensor y(dtype, count);
        expect_ok(
            nibble_rope(on(), dtype, x.data(), cos.data(), sin.data(), tokens, heads, head_dim, rotary, 0, y.data()));
        std::vector<double> expected(count);
        for (int64_t row = 0; row < tokens * heads; ++row) {
            for (int64_t i = 0; i < head_dim; ++i) {
                const auto e = static_cast<size_t>(row * head_dim + i);
                expected[e] = x[e];
            }
            for (int64_t i = 0; i < rotary / 2; ++i) {
                const auto angle = static_cast<size_t>(row / heads * rotary / 2 + i);
                const auto first = static_cast<size_t>(row * head_dim + i);
                const auto second = first + static_cast<size_t>(rotary / 2);
                const double c = static_cast<double>(cos[angle]);
                const double s = static_cast<double>(sin[angle]);
                expected[first] = x[first] * c - x[second] * s;
                expected[second] = x[second] * c + x[first] * s;
            }
        }
        expect_close(y, expected, tolerance(dtype), "y");
        expect_ok(
            nibble_rope(on(), dtype, y.data(), cos.data(), sin.data(), tokens, heads, head_dim, rotary, 1, y.data()));
        expect_close(y, x, 2 * tolerance(dtype), "x");
    }
}

TEST_P(Layers, a_gate_that_is_not_a_number_gives_what_is_not_a_number_and_spares_its_neighbours) {
    const nibble_dtype dtype = GetParam().dtype;
    std::vector<float> gates(33, 1.0F);
    gates[7] = std::numeric_limits<float>::quiet_NaN();
    const Tensor gate(dtype, gates);
    const Tensor ones(dtype, std::vector<float>(33, 1.0F));
    Tensor y(dtype, 33), dgate(dtype, 33), dup(dtype, 33);
    expect_ok(nibble_swiglu_forward(on(), dtype, gate.data(), ones.data(), 33, y.data()));
    expect_ok(nibble_swiglu_backward(on(), dtype, gate.data(), ones.data(), ones.data(), 33, dgate.data(), dup.data()));
    for (const Tensor* result : {&y, &dgate, &dup}) {
        for (size_t i = 0; i < 33; ++i) {
            EXPECT_EQ(std::isnan((*result)[i]), i == 7) << i;
        }
    }
}

TEST_P(Layers, swiglu_and_its_gradients_equal_float64_over_the_whole_range_of_gates) {
    const nibble_dtype dtype = GetParam().dtype;
    auto gates = random_values(1029, 1, 4.0F);
    gates[0] = 95.0F;
    gates[1] = -95.0F;
    gates[2] = 0.0F;
    const Tensor gate(dtype, gates);
    const Tensor up(dtype, random_values(1029, 2));
    const Tensor dy(dtype, random_values(1029, 3));
    Tensor y(dtype, 1029);
    Tensor dgate(dtype, 1029);
    Tensor dup(dtype, 1029);
    expect_ok(nibble_swiglu_forward(on(), dtype, gate.data(), up.data(), 1029, y.data()));
    expect_ok(nibble_swiglu_backward(on(), dtype, gate.data(), up.data(), dy.data(), 1029, dgate.data(), dup.data()));
    for (size_t i = 0; i < 1029; ++i) {
        const double g = gate[i];
        const double s = 1 / (1 + std::exp(-g));
        const auto near = [&](double found, double expected, const char* what) {
            ASSERT_NEAR(found, expected, tolerance(dtype) * std::max(1e-3, std::fabs(expected)))
                << what << " of gate " << g;
        };
        near(y[i], g * s * up[i], "y");
        near(dup[i], dy[i] * g * s, "dup");
        near(dgate[i], dy[i] * up[i] * s * (1 + g * (1 - s)), "dgate");
    }
}
