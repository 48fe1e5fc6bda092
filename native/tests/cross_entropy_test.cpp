#include <limits>

#include "support.h"

using namespace nibble_test;

class CrossEntropy : public OnEachMachine {};
INSTANTIATE_TEST_SUITE_P(Each, CrossEntropy, testing::ValuesIn(machines()), name_of);

TEST_P(CrossEntropy, losses_and_gradients_equal_float64_with_ignored_labels_and_several_slices_and_chunks) {
    const nibble_dtype dtype = GetParam().dtype;
    for (const auto& [tokens, vocab, width] : {std::tuple<size_t, size_t, size_t>{1, 33, 8},
                                               {17, 1100, 30},
                                               {129, 96, 65},
                                               {500, 40, 9},
                                               {20, 192, 128},
                                               {9, 4160, 64}}) {
        const Tensor hidden(dtype, random_values(tokens * width, 1));
        const Tensor head(dtype, random_values(vocab * width, 2, 0.5F));
        nibble_weight view{};
        view.rows = static_cast<int64_t>(vocab);
        view.cols = static_cast<int64_t>(width);
        view.format = dtype;
        view.data = head.data();
        std::vector<int64_t> labels(tokens);
        for (size_t t = 0; t < tokens; ++t) {
            labels[t] = t % 5 == 3 ? -100 : static_cast<int64_t>((t * 37) % vocab);
        }
        const auto grad = random_values(tokens, 5);
        std::vector<float> loss(tokens), lse(tokens);
        Tensor dhidden(dtype, tokens * width);
        std::vector<float> dhead(vocab * width, 0.5F);
        const auto t_count = static_cast<int64_t>(tokens);
        expect_ok(nibble_linear_cross_entropy_forward(on(), &view, dtype, hidden.data(), labels.data(), t_count,
                                                      loss.data(), lse.data(), nullptr));
        expect_ok(nibble_linear_cross_entropy_backward(on(), &view, dtype, hidden.data(), labels.data(), t_count,
                                                       lse.data(), grad.data(), dhidden.data(), dhead.data()));
        std::vector<double> eloss(tokens), edhidden(dhidden.size()), edhead(dhead.size(), 0.5);
        for (size_t t = 0; t < tokens; ++t) {
            std::vector<double> logits(vocab);
            double sum = 0;
            for (size_t v = 0; v < vocab; ++v) {
                for (size_t w = 0; w < width; ++w) {
                    logits[v] += hidden[t * width + w] * head[v * width + w];
                }
                sum += std::exp(logits[v]);
            }
            if (labels[t] < 0) {
                continue;
            }
            eloss[t] = std::log(sum) - logits[static_cast<size_t>(labels[t])];
            for (size_t v = 0; v < vocab; ++v) {
                const double one = static_cast<int64_t>(v) == labels[t] ? 1.0 : 0.0;
                const double d = static_cast<double>(grad[t]) * (std::exp(logits[v]) / sum - one);
                for (size_t w = 0; w < width; ++w) {
                    edhidden[t * width + w] += d * head[v * width + w];
                    edhead[v * width + w] += d * hidden[t * width + w];
                }
            }
        }
        // Sums are float32 whatever the type, so only rounding of the bfloat16 product path widens the tolerance.
        expect_close(loss, eloss, 2e-5, "loss");
        expect_close(dhidden, edhidden, tolerance(dtype), "dhidden");
        // On tensor cores the gradient of the logits is of the element type too.
        expect_close(dhead, edhead, on() == nullptr ? 5e-5 : std::max(5e-5, tolerance(dtype)), "dhead");
    }
}

TEST_P(CrossEntropy, a_quantised_head_gives_what_its_values_give_in_either_order) {
    const nibble_dtype dtype = GetParam().dtype;
    const int64_t tokens = 19, vocab = 160, width = 320;
    const Tensor hidden(dtype, random_values(tokens * width, 1));
    const auto grad = random_values(tokens, 5);
    std::vector<int64_t> labels(tokens);
    for (size_t t = 0; t < labels.size(); ++t) {
        labels[t] = static_cast<int64_t>(t * 37) % vocab;
    }
    const auto values = random_values(vocab * width, 2, 0.5F);
    std::vector<uint8_t> packed(vocab * width / 2);
    std::vector<float> absmax(vocab * width / NIBBLE_NF4_BLOCK);
    expect_ok(nibble_nf4_quantize(on(), NIBBLE_F32, values.data(), vocab * width, packed.data(), absmax.data()));
    nibble_weight quantised{};
    quantised.rows = vocab;
    quantised.cols = width;
    quantised.format = NIBBLE_WEIGHT_NF4;
    quantised.data = packed.data();
    quantised.absmax = absmax.data();
    std::vector<float> rounded(values.size());
    expect_ok(nibble_dequantize(on(), &quantised, NIBBLE_F32, rounded.data()));
    nibble_weight plain = quantised;
    plain.format = NIBBLE_WEIGHT_F32;
    plain.data = rounded.data();
    auto turned_packed = packed;
    auto turned_absmax = absmax;
    nibble_weight turned = quantised;
    turned.format = NIBBLE_WEIGHT_NF4_TURNED;
    turned.data = turned_packed.data();
    turned.absmax = turned_absmax.data();
    expect_ok(nibble_nf4_turn(vocab, width, turned_packed.data(), turned_absmax.data(), nullptr));

    struct Results {
        std::vector<float> loss, lse;
        Tensor dhidden;
    };
    const auto run = [&](const nibble_weight& head) {
        Results r{std::vector<float>(tokens), std::vector<float>(tokens), Tensor(dtype, tokens * width)};
        expect_ok(nibble_linear_cross_entropy_forward(on(), &head, dtype, hidden.data(), labels.data(), tokens,
                                                      r.loss.data(), r.lse.data(), nullptr));
        expect_ok(nibble_linear_cross_entropy_backward(on(), &head, dtype, hidden.data(), labels.data(), tokens,
                                                       r.lse.data(), grad.data(), r.dhidden.data(), nullptr));
        return r;
    };
    const Results expected = run(plain);
    std::vector<double> loss(expected.loss.begin(), expected.loss.end());
    std::vector<double> dhidden;
    for (size_t i = 0; i < expected.dhidden.size(); ++i) {
        dhidden.push_back(expected.dhidden[i]);
    }
    for (const nibble_weight* head : {&quantised, &turned}) {
        if (head == &turned && on() != nullptr) {
            continue;  // For the CPU only.
        }
        const Results found = run(*head);
        expect_close(found.loss, loss, tolerance(dtype), "loss");
        expect_close(found.dhidden, dhidden, tolerance(dtype), "dhidden");
    }
}

// Which a GPU does not make.
class UnitGradients : public OnEachMachine {};
INSTANTIATE_TEST_SUITE_P(Each, UnitGradients, testing::ValuesIn(instruction_sets()), name_of);

// Of values [tokens, width] and [vocab, width]; gives the logarithms of the sums of exponentials.
static std::vector<float> expect_unit_gradients_alike(nibble_dtype dtype, const std::vector<float>& hidden_values,
                                                      const std::vector<float>& head_values, int64_t width) {
    const Tensor hidden(dtype, hidden_values);
    const Tensor values(dtype, head_values);
    const int64_t tokens = static_cast<int64_t>(hidden_values.size()) / width;
    nibble_weight head{};
    head.rows = static_cast<int64_t>(head_values.size()) / width;
    head.cols = width;
    head.format = dtype;
    head.data = values.data();
    std::vector<int64_t> labels(static_cast<size_t>(tokens));
    for (size_t t = 0; t < labels.size(); ++t) {
        labels[t] = t % 5 == 3 ? -100 : static_cast<int64_t>(t * 37) % head.rows;
    }
    const std::vector<float> ones(labels.size(), 1.0F);
    std::vector<float> loss(labels.size()), lse(labels.size());
    Tensor unit(dtype, hidden_values.size());
    Tensor expected(dtype, hidden_values.size());
    expect_ok(nibble_linear_cross_entropy_forward(on(), &head, dtype, hidden.data(), labels.data(), tokens, loss.data(),
                                                  lse.data(), unit.data()));
    expect_ok(nibble_linear_cross_entropy_backward(on(), &head, dtype, hidden.data(), labels.data(), tokens, lse.data(),
                                                   ones.data(), expected.data(), nullptr));
    std::vector<double> values_of_backward(hidden_values.size());
    for (size_t i = 0; i < values_of_backward.size(); ++i) {
        values_of_backward[i] = expected[i];
    }
    expect_close(unit, values_of_backward, tolerance(dtype), "unit_dhidden");
    return lse;
}

TEST_P(UnitGradients, of_the_forward_pass_equal_those_of_the_backward_pass) {
    // The last one's probabilities do not fit into a chunk, nor do a chunk's stay in a cache.
    for (const auto& [tokens, vocab, width] :
         {std::tuple<size_t, size_t, size_t>{1, 33, 8}, {17, 1101, 30}, {129, 96, 65}, {301, 70001, 6}}) {
        expect_unit_gradients_alike(GetParam().dtype, random_values(tokens * width, 1),
                                    random_values(vocab * width, 2, 0.5F), static_cast<int64_t>(width));
    }
}

TEST_P(UnitGradients, stay_right_where_logits_are_too_large_or_small_for_their_exponentials) {
    const size_t width = 8;
    const size_t vocab = 1000;
    const std::vector<float> sizes{0, 30, -30, 65, -65, 80, -80, 88, -88, 95, -95, 400, -400};
    auto hidden = random_values(sizes.size() * width, 1, 0.025F);
    for (size_t t = 0; t < sizes.size(); ++t) {
        hidden[t * width] = sizes[t];
    }
    // So many words' logits are about the token's size, those of others about its opposite or small.
    for (const auto& [positive, others] :
         {std::pair<size_t, float>{0, -1.0F}, {1, -1.0F}, {1, 0.0F}, {300, -1.0F}, {300, 0.0F}, {vocab, 0.0F}}) {
        auto head = random_values(vocab * width, 2, 20.0F);
        for (size_t v = 0; v < vocab; ++v) {
            head[v * width] = v < positive ? 1.0F : others;
        }
        const auto lse = expect_unit_gradients_alike(GetParam().dtype, hidden, head, static_cast<int64_t>(width));
        const Tensor x(GetParam().dtype, hidden);
        const Tensor w(GetParam().dtype, head);
        std::vector<double> expected;
        for (size_t t = 0; t < sizes.size(); ++t) {
            double sum = 0;
            for (size_t v = 0; v < vocab; ++v) {
                double logit = 0;
                for (size_t c = 0; c < width; ++c) {
                    logit += x[t * width + c] * w[v * width + c];
                }
                sum += std::exp(logit);
            }
            expected.push_back(std::log(sum));
        }
        expect_close(lse, expected, 2e-5, "lse");
    }
}

TEST_P(CrossEntropy, losses_and_gradients_repeat_to_the_bit_and_hardly_differ_between_thread_counts) {
    const nibble_dtype dtype = GetParam().dtype;
    const int64_t tokens = 20, vocab = 1100, width = 30;
    const auto count = static_cast<size_t>(tokens * width);
    const Tensor hidden(dtype, random_values(count, 1));
    const Tensor values(dtype, random_values(static_cast<size_t>(vocab * width), 2, 0.5F));
    nibble_weight head{};
    head.rows = vocab;
    head.cols = width;
    head.format = dtype;
    head.data = values.data();
    std::vector<int64_t> labels(static_cast<size_t>(tokens));
    for (size_t t = 0; t < labels.size(); ++t) {
        labels[t] = static_cast<int64_t>(t * 57 % static_cast<size_t>(vocab));
    }
    const std::vector<float> grad(labels.size(), 1.0F);

    struct Results {
        std::vector<float> loss, lse, dhead;
        Tensor dhidden;
        bool operator==(const Results&) const = default;
    };
    std::vector<Results> results;
    for (const int threads : {1, 1, 2, 2, 3, 3, 5, 5}) {
        expect_ok(nibble_set_num_threads(threads));
        Results r{std::vector<float>(labels.size()), std::vector<float>(labels.size()),
                  std::vector<float>(values.size()), Tensor(dtype, count)};
        expect_ok(nibble_linear_cross_entropy_forward(on(), &head, dtype, hidden.data(), labels.data(), tokens,
                                                      r.loss.data(), r.lse.data(), nullptr));
        expect_ok(nibble_linear_cross_entropy_backward(on(), &head, dtype, hidden.data(), labels.data(), tokens,
                                                       r.lse.data(), grad.data(), r.dhidden.data(), r.dhead.data()));
        results.push_back(std::move(r));
        if (results.size() % 2 == 0) {
            EXPECT_TRUE(results.back() == results[results.size() - 2]) << threads << " threads";
        }
        expect_close(results.back().loss, results.front().loss, 1e-6, "loss");
        expect_close(results.back().dhidden, results.front().dhidden, tolerance(dtype), "dhidden");
        expect_close(results.back().dhead, results.front().dhead, 5e-6, "dhead");
    }
}

TEST_P(CrossEntropy, ignored_labels_everywhere_give_no_loss_and_no_gradient) {
    const nibble_dtype dtype = GetParam().dtype;
    const Tensor hidden(dtype, random_values(6 * 8, 1));
    const Tensor values(dtype, random_values(40 * 8, 2));
    nibble_weight head{};
    head.rows = 40;
    head.cols = 8;
    head.format = dtype;
    head.data = values.data();
    const std::vector<int64_t> labels(6, -100);
    const std::vector<float> grad(6, 1.0F);
    std::vector<float> loss(6, 9.0F), lse(6);
    Tensor dhidden(dtype, std::vector<float>(6 * 8, 9.0F));
    std::vector<float> dhead(40 * 8, 0.5F);
    expect_ok(nibble_linear_cross_entropy_forward(on(), &head, dtype, hidden.data(), labels.data(), 6, loss.data(),
                                                  lse.data(), nullptr));
    expect_ok(nibble_linear_cross_entropy_backward(on(), &head, dtype, hidden.data(), labels.data(), 6, lse.data(),
                                                   grad.data(), dhidden.data(), dhead.data()));
    EXPECT_EQ(loss, std::vector<float>(6));
    EXPECT_TRUE(dhidden == Tensor(dtype, 6 * 8));
    EXPECT_EQ(dhead, std::vector<float>(40 * 8, 0.5F));
}

TEST_P(CrossEntropy, one_logit_that_is_not_a_number_makes_the_loss_not_a_number) {
    const nibble_dtype dtype = GetParam().dtype;
    const size_t vocab = 200;
    const Tensor hidden(dtype, random_values(8, 1));
    for (size_t wrong = 10; wrong < vocab; wrong += 9) {
        auto values = random_values(vocab * 8, 2);
        values[wrong * 8] = std::numeric_limits<float>::quiet_NaN();
        const Tensor head(dtype, values);
        nibble_weight view{};
        view.rows = static_cast<int64_t>(vocab);
        view.cols = 8;
        view.format = dtype;
        view.data = head.data();
        const std::vector<int64_t> label{3};
        std::vector<float> loss(1), lse(1);
        expect_ok(nibble_linear_cross_entropy_forward(on(), &view, dtype, hidden.data(), label.data(), 1, loss.data(),
                                                      lse.data(), nullptr));
        EXPECT_TRUE(std::isnan(loss[0])) << "logit " << wrong << " left a loss of " << loss[0];
        EXPECT_TRUE(std::isnan(lse[0])) << "logit " << wrong << " left " << lse[0];
    }
}

TEST_P(CrossEntropy, a_label_outside_the_vocabulary_that_only_a_gpu_sees_makes_its_loss_not_a_number) {
    if (on() == nullptr) {
        return;  // The CPU refuses it, as the next test says.
    }
    const nibble_dtype dtype = GetParam().dtype;
    const Tensor hidden(dtype, random_values(3 * 8, 1));
    const Tensor values(dtype, random_values(40 * 8, 2));
    nibble_weight head{};
    head.rows = 40;
    head.cols = 8;
    head.format = dtype;
    head.data = values.data();
    const std::vector<int64_t> labels{39, 40, -1};
    std::vector<float> loss(3), lse(3);
    expect_ok(nibble_linear_cross_entropy_forward(on(), &head, dtype, hidden.data(), labels.data(), 3, loss.data(),
                                                  lse.data(), nullptr));
    EXPECT_FALSE(std::isnan(loss[0]));
    EXPECT_TRUE(std::isnan(loss[1]));
    EXPECT_TRUE(std::isnan(loss[2]));
}

TEST(CrossEntropyLabels, a_label_outside_the_vocabulary_is_refused_by_its_place) {
    const auto values = random_values(4 * 8, 1);
    nibble_weight view{};
    view.rows = 4;
    view.cols = 8;
    view.data = values.data();
    float loss[2];
    float lse[2];
    for (const int64_t wrong : {int64_t{4}, int64_t{-1}, int64_t{-101}, INT64_MAX, INT64_MIN}) {
        const int64_t labels[] = {1, wrong};
        EXPECT_EQ(
            nibble_linear_cross_entropy_forward(on(), &view, NIBBLE_F32, values.data(), labels, 2, loss, lse, nullptr),
            NIBBLE_INVALID_ARGUMENT);
        EXPECT_NE(std::string(nibble_last_error()).find("labels[1] is " + std::to_string(wrong)), std::string::npos);
    }
}
