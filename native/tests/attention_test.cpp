#include "support.h"

using namespace nibble_test;

namespace {

// Sequences of unequal lengths: shorter than a block, of one, with a rest, of one token.
struct Case {
    std::vector<int32_t> lengths;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t window;
};

const std::vector<Case> kCases = {
    {{5, 64, 1, 150}, 4, 2, 24, 0}, {{130, 7}, 2, 2, 64, 0}, {{200}, 6, 2, 16, 70},
    {{40, 131}, 2, 1, 40, 3},       {{66}, 1, 1, 7, 2},
};

struct Data {
    Case sizes;
    nibble_attention attention;
    int64_t tokens = 0;
    Tensor query, key, value, doutput;

    Data(const Case& given, nibble_dtype dtype)
        : sizes(given),
          attention{sizes.lengths.data(),
                    static_cast<int64_t>(sizes.lengths.size()),
                    sizes.heads,
                    sizes.kv_heads,
                    sizes.head_dim,
                    sizes.window,
                    0.2F},
          query(dtype, 0),
          key(dtype, 0),
          value(dtype, 0),
          doutput(dtype, 0) {
        for (const int32_t length : sizes.lengths) {
            tokens += length;
        }
        const auto count = static_cast<size_t>(tokens * sizes.heads * sizes.head_dim);
        const auto key_count = static_cast<size_t>(tokens * sizes.kv_heads * sizes.head_dim);
        query = Tensor(dtype, random_values(count, 1, 1.5F));
        key = Tensor(dtype, random_values(key_count, 2, 1.5F));
        value = Tensor(dtype, random_values(key_count, 3));
        doutput = Tensor(dtype, random_values(count, 4));
    }

    [[nodiscard]] size_t at(int64_t heads, int64_t token, int64_t head, int64_t d) const {
        return static_cast<size_t>((token * heads + head) * sizes.head_dim + d);
    }
};

struct Result {
    Tensor output, dquery, dkey, dvalue;
    std::vector<float> log_sum_exp;
};

Result run(const Data& data, nibble_dtype dtype) {
    Result result{Tensor(dtype, data.query.size()), Tensor(dtype, data.query.size()), Tensor(dtype, data.key.size()),
                  Tensor(dtype, data.key.size()),
                  std::vector<float>(static_cast<size_t>(data.tokens * data.sizes.heads))};
    expect_ok(nibble_attention_forward(&data.attention, dtype, data.query.data(), data.key.data(), data.value.data(),
                                       result.output.data(), result.log_sum_exp.data()));
    expect_ok(nibble_attention_backward(&data.attention, dtype, data.query.data(), data.key.data(), data.value.data(),
                                        result.output.data(), result.log_sum_exp.data(), data.doutput.data(),
                                        result.dquery.data(), result.dkey.data(), result.dvalue.data()));
    return result;
}

}  // namespace

class Attention : public OnEachMachine {};
INSTANTIATE_TEST_SUITE_P(Each, Attention, testing::ValuesIn(instruction_sets()), name_of);

TEST_P(Attention, output_and_gradients_equal_float64_in_sequences_of_unequal_lengths) {
    const nibble_dtype dtype = GetParam().dtype;
    for (const Case& sizes : kCases) {
        const Data data(sizes, dtype);
        const Result found = run(data, dtype);
        std::vector<double> output(data.query.size()), dquery(data.query.size()), dkey(data.key.size()),
            dvalue(data.key.size());
        const auto scale = static_cast<double>(data.attention.scale);
        int64_t start = 0;
        for (const int32_t length : sizes.lengths) {
            for (int64_t head = 0; head < sizes.heads; ++head) {
                const int64_t kv = head / (sizes.heads / sizes.kv_heads);
                for (int64_t q = 0; q < length; ++q) {
                    const int64_t from = sizes.window == 0 ? 0 : std::max<int64_t>(0, q - sizes.window + 1);
                    std::vector<double> p;
                    double sum = 0;
                    for (int64_t k = from; k <= q; ++k) {
                        double score = 0;
                        for (int64_t d = 0; d < sizes.head_dim; ++d) {
                            score += data.query[data.at(sizes.heads, start + q, head, d)] *
                                     data.key[data.at(sizes.kv_heads, start + k, kv, d)];
                        }
                        p.push_back(std::exp(score * scale));
                        sum += p.back();
                    }
                    double dot = 0;
                    for (int64_t d = 0; d < sizes.head_dim; ++d) {
                        const size_t e = data.at(sizes.heads, start + q, head, d);
                        for (int64_t k = from; k <= q; ++k) {
                            output[e] += p[static_cast<size_t>(k - from)] / sum *
                                         data.value[data.at(sizes.kv_heads, start + k, kv, d)];
                        }
                        dot += output[e] * data.doutput[e];
                    }
                    for (int64_t k = from; k <= q; ++k) {
                        const double probability = p[static_cast<size_t>(k - from)] / sum;
                        double slope = -dot;
                        for (int64_t d = 0; d < sizes.head_dim; ++d) {
                            slope += data.doutput[data.at(sizes.heads, start + q, head, d)] *
                                     data.value[data.at(sizes.kv_heads, start + k, kv, d)];
                        }
                        for (int64_t d = 0; d < sizes.head_dim; ++d) {
                            const size_t e = data.at(sizes.heads, start + q, head, d);
                            const size_t f = data.at(sizes.kv_heads, start + k, kv, d);
                            dvalue[f] += probability * data.doutput[e];
                            dquery[e] += scale * probability * slope * data.key[f];
                            dkey[f] += scale * probability * slope * data.query[e];
                        }
                    }
                }
            }
            start += length;
        }
        // Probabilities and their gradients are rounded to the type as well.
        const double relative = dtype == NIBBLE_F32 ? 2e-5 : tolerance(dtype);
        expect_close(found.output, output, relative, "output");
        expect_close(found.dquery, dquery, relative, "dquery");
        expect_close(found.dkey, dkey, relative, "dkey");
        expect_close(found.dvalue, dvalue, relative, "dvalue");
    }
}

TEST_P(Attention, results_do_not_depend_on_the_number_of_threads_or_on_neighbours) {
    const nibble_dtype dtype = GetParam().dtype;
    const Data data({{150, 90}, 4, 2, 64, 0}, dtype);
    expect_ok(nibble_set_num_threads(1));
    const Result one = run(data, dtype);
    expect_ok(nibble_set_num_threads(3));
    const Result three = run(data, dtype);
    EXPECT_EQ(one.output, three.output);
    EXPECT_EQ(one.dquery, three.dquery);
    EXPECT_EQ(one.dkey, three.dkey);
    EXPECT_EQ(one.dvalue, three.dvalue);

    const Data alone({{150}, 4, 2, 64, 0}, dtype);
    nibble_attention first = alone.attention;
    Tensor output(dtype, static_cast<size_t>(150 * 4 * 64));
    expect_ok(nibble_attention_forward(&first, dtype, data.query.data(), data.key.data(), data.value.data(),
                                       output.data(), nullptr));
    for (size_t i = 0; i < output.size(); ++i) {
        ASSERT_EQ(output[i], one.output[i]);
    }
}

TEST(AttentionArguments, impossible_sizes_are_refused) {
    const std::vector<float> x = random_values(64, 1);
    std::vector<float> y(64);
    const int32_t lengths[] = {2, 2};
    const auto refuse = [&](nibble_attention attention, const char* part) {
        EXPECT_EQ(nibble_attention_forward(&attention, NIBBLE_F32, x.data(), x.data(), x.data(), y.data(), nullptr),
                  NIBBLE_INVALID_ARGUMENT);
        EXPECT_NE(std::string(nibble_last_error()).find(part), std::string::npos) << nibble_last_error();
    };
    const int32_t empty[] = {2, 0};
    refuse({lengths, 2, 3, 2, 4, 0, 1}, "attention_forward: heads is 3, expected a multiple of kv_heads 2");
    refuse({empty, 2, 2, 2, 4, 0, 1}, "lengths is 0");
    refuse({nullptr, 2, 2, 2, 4, 0, 1}, "lengths is null");
    refuse({lengths, 2, 2, 2, 4, -1, 1}, "window is -1");
    EXPECT_EQ(nibble_attention_forward(nullptr, NIBBLE_F32, x.data(), x.data(), x.data(), y.data(), nullptr),
              NIBBLE_INVALID_ARGUMENT);
    nibble_attention none{nullptr, 0, 2, 2, 4, 0, 1};
    expect_ok(nibble_attention_forward(&none, NIBBLE_F32, nullptr, nullptr, nullptr, nullptr, nullptr));
}
