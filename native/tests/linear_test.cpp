#include "support.h"

using namespace nibble_test;

namespace {

// The tests' own Philox4x32-10, after the paper.
void philox(uint32_t counter[4], uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; ++round) {
        const uint64_t a = 0xD2511F53ULL * counter[0];
        const uint64_t b = 0xCD9E8D57ULL * counter[2];
        const uint32_t next[4] = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(b),
                                  static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(a)};
        std::memcpy(counter, next, sizeof(next));
        key0 += 0x9E3779B9U;
        key1 += 0xBB67AE85U;
    }
}

double dropout_factor(const nibble_lora& lora, uint64_t element) {
    uint32_t counter[4] = {static_cast<uint32_t>(element / 4), static_cast<uint32_t>((element / 4) >> 32), lora.step,
                           lora.layer};
    philox(counter, static_cast<uint32_t>(lora.seed), static_cast<uint32_t>(lora.seed >> 32));
    const bool dropped = static_cast<double>(counter[element % 4]) < static_cast<double>(lora.dropout) * 4294967296.0;
    return dropped ? 0.0 : 1.0 / (1.0 - static_cast<double>(lora.dropout));
}

// A weight in one of its formats, with the values that it really has.
struct Weight {
    enum class Kind { dense, nf4, nested };

    Weight(int64_t rows, int64_t cols, Kind kind, nibble_dtype dtype)
        : dense(dtype, random_values(static_cast<size_t>(rows * cols), 11, 0.1F)),
          values(static_cast<size_t>(rows * cols)) {
        view.rows = rows;
        view.cols = cols;
        if (kind == Kind::dense) {
            view.format = dtype;
            view.data = dense.data();
        } else {
            const int64_t count = rows * cols;
            const int64_t blocks = (count + 63) / 64;
            packed.resize(static_cast<size_t>((count + 1) / 2));
            absmax.resize(static_cast<size_t>(blocks));
            expect_ok(nibble_nf4_quantize(dtype, dense.data(), count, packed.data(), absmax.data()));
            view.format = NIBBLE_WEIGHT_NF4;
            view.data = packed.data();
            view.absmax = absmax.data();
            if (kind == Kind::nested) {
                codes.resize(absmax.size());
                nested.resize((absmax.size() + 255) / 256);
                expect_ok(nibble_nf4_quantize_absmax(absmax.data(), blocks, codes.data(), nested.data(),
                                                     &view.absmax_offset));
                view.absmax = nullptr;
                view.absmax_codes = codes.data();
                view.nested_absmax = nested.data();
            }
        }
        expect_ok(nibble_dequantize(&view, NIBBLE_F32, values.data()));
    }

    double at(int64_t row, int64_t col) const {
        return static_cast<double>(values[static_cast<size_t>(row * view.cols + col)]);
    }

    Tensor dense;
    std::vector<uint8_t> packed;
    std::vector<float> absmax;
    std::vector<uint8_t> codes;
    std::vector<float> nested;
    std::vector<float> values;
    nibble_weight view{};
};

struct Shape {
    int64_t m, n, k;
};

const Shape kShapes[] = {{1, 65, 172}, {3, 320, 128}, {17, 64, 172}, {129, 96, 320}, {5, 33, 7}};

}  // namespace

class Linear : public OnEachMachine {};
INSTANTIATE_TEST_SUITE_P(Each, Linear, testing::ValuesIn(machines()), name_of);

TEST_P(Linear, forward_and_input_gradient_equal_float64_over_every_weight_format) {
    const nibble_dtype dtype = GetParam().dtype;
    for (const Shape& s : kShapes) {
        for (const auto kind : {Weight::Kind::dense, Weight::Kind::nf4, Weight::Kind::nested}) {
            const Weight weight(s.n, s.k, kind, dtype);
            const Tensor x(dtype, random_values(static_cast<size_t>(s.m * s.k), 1));
            const Tensor bias(dtype, random_values(static_cast<size_t>(s.n), 2));
            const Tensor dy(dtype, random_values(static_cast<size_t>(s.m * s.n), 3));
            Tensor y(dtype, static_cast<size_t>(s.m * s.n));
            Tensor dx(dtype, static_cast<size_t>(s.m * s.k));
            expect_ok(
                nibble_linear_forward(&weight.view, bias.data(), nullptr, dtype, x.data(), s.m, y.data(), nullptr));
            expect_ok(nibble_linear_backward(&weight.view, nullptr, dtype, nullptr, nullptr, dy.data(), s.m, dx.data(),
                                             nullptr, nullptr));
            std::vector<double> expected_y(y.size());
            std::vector<double> expected_dx(dx.size());
            for (int64_t i = 0; i < s.m; ++i) {
                for (int64_t n = 0; n < s.n; ++n) {
                    double sum = bias[static_cast<size_t>(n)];
                    for (int64_t k = 0; k < s.k; ++k) {
                        sum += x[static_cast<size_t>(i * s.k + k)] * weight.at(n, k);
                        expected_dx[static_cast<size_t>(i * s.k + k)] +=
                            dy[static_cast<size_t>(i * s.n + n)] * weight.at(n, k);
                    }
                    expected_y[static_cast<size_t>(i * s.n + n)] = sum;
                }
            }
            expect_close(y, expected_y, tolerance(dtype), "y");
            expect_close(dx, expected_dx, tolerance(dtype), "dx");
        }
    }
}

TEST_P(Linear, adapter_forward_and_gradients_equal_float64_with_and_without_dropout) {
    const nibble_dtype dtype = GetParam().dtype;
    for (const Shape& s : kShapes) {
        for (const float dropout : {0.0F, 0.25F}) {
            const int64_t rank = 5;
            const Weight weight(s.n, s.k, Weight::Kind::nested, dtype);
            const auto a = random_values(static_cast<size_t>(rank * s.k), 21, 0.2F);
            const auto b = random_values(static_cast<size_t>(s.n * rank), 22, 0.2F);
            const nibble_lora lora{rank, 1.5F, dropout, a.data(), b.data(), 0x123456789ABCDEFULL, 7, 3};
            const Tensor x(dtype, random_values(static_cast<size_t>(s.m * s.k), 1));
            const Tensor dy(dtype, random_values(static_cast<size_t>(s.m * s.n), 3));
            Tensor y(dtype, static_cast<size_t>(s.m * s.n));
            Tensor dx(dtype, static_cast<size_t>(s.m * s.k));
            std::vector<float> hidden(static_cast<size_t>(s.m * rank));
            std::vector<float> da(a.size());
            std::vector<float> db(b.size());
            expect_ok(
                nibble_linear_forward(&weight.view, nullptr, &lora, dtype, x.data(), s.m, y.data(), hidden.data()));
            expect_ok(nibble_linear_backward(&weight.view, &lora, dtype, x.data(), hidden.data(), dy.data(), s.m,
                                             dx.data(), da.data(), db.data()));

            const auto at = [](int64_t row, int64_t width, int64_t col) {
                return static_cast<size_t>(row * width + col);
            };
            std::vector<double> ey(y.size()), edx(dx.size()), eu(hidden.size()), eg(hidden.size()), eda(a.size()),
                edb(b.size());
            std::vector<double> dropped(x.size());
            std::vector<double> factor(x.size());
            for (size_t e = 0; e < x.size(); ++e) {
                factor[e] = dropout > 0 ? dropout_factor(lora, e) : 1.0;
                dropped[e] = x[e] * factor[e];
            }
            const double scale = static_cast<double>(lora.scale);
            for (int64_t i = 0; i < s.m; ++i) {
                for (int64_t r = 0; r < rank; ++r) {
                    for (int64_t k = 0; k < s.k; ++k) {
                        eu[at(i, rank, r)] += dropped[at(i, s.k, k)] * static_cast<double>(a[at(r, s.k, k)]);
                    }
                    for (int64_t n = 0; n < s.n; ++n) {
                        eg[at(i, rank, r)] += scale * dy[at(i, s.n, n)] * static_cast<double>(b[at(n, rank, r)]);
                    }
                }
                for (int64_t n = 0; n < s.n; ++n) {
                    double sum = 0;
                    for (int64_t k = 0; k < s.k; ++k) {
                        sum += x[at(i, s.k, k)] * weight.at(n, k);
                        edx[at(i, s.k, k)] += dy[at(i, s.n, n)] * weight.at(n, k);
                    }
                    for (int64_t r = 0; r < rank; ++r) {
                        sum += scale * eu[at(i, rank, r)] * static_cast<double>(b[at(n, rank, r)]);
                        edb[at(n, rank, r)] += scale * dy[at(i, s.n, n)] * eu[at(i, rank, r)];
                    }
                    ey[at(i, s.n, n)] = sum;
                }
                for (int64_t k = 0; k < s.k; ++k) {
                    double share = 0;
                    for (int64_t r = 0; r < rank; ++r) {
                        share += eg[at(i, rank, r)] * static_cast<double>(a[at(r, s.k, k)]);
                        eda[at(r, s.k, k)] += eg[at(i, rank, r)] * dropped[at(i, s.k, k)];
                    }
                    edx[at(i, s.k, k)] += share * factor[at(i, s.k, k)];
                }
            }
            expect_close(hidden, eu, 2e-5, "hidden");
            expect_close(y, ey, tolerance(dtype), "y");
            expect_close(dx, edx, tolerance(dtype), "dx");
            expect_close(da, eda, dtype == NIBBLE_F32 ? 5e-5 : tolerance(dtype), "da");
            expect_close(db, edb, dtype == NIBBLE_F32 ? 5e-5 : tolerance(dtype), "db");
        }
    }
}

TEST_P(Linear, results_are_the_same_to_the_bit_at_every_run_and_thread_count_of_the_forward_pass) {
    const nibble_dtype dtype = GetParam().dtype;
    const Weight weight(96, 320, Weight::Kind::nested, dtype);
    const Tensor x(dtype, random_values(129 * 320, 1));
    std::vector<Tensor> results;
    for (const int threads : {1, 2, 2}) {
        expect_ok(nibble_set_num_threads(threads));
        results.emplace_back(dtype, static_cast<size_t>(129 * 96));
        expect_ok(nibble_linear_forward(&weight.view, nullptr, nullptr, dtype, x.data(), 129, results.back().data(),
                                        nullptr));
    }
    EXPECT_TRUE(results[0] == results[1]);
    EXPECT_TRUE(results[1] == results[2]);
}

TEST(Dropout, philox_gives_the_published_known_answers) {
    uint32_t zero[4] = {0, 0, 0, 0};
    philox(zero, 0, 0);
    EXPECT_EQ(zero[0], 0x6627e8d5U);
    EXPECT_EQ(zero[1], 0xe169c58dU);
    EXPECT_EQ(zero[2], 0xbc57ac4cU);
    EXPECT_EQ(zero[3], 0x9b00dbd8U);
    uint32_t ones[4] = {~0U, ~0U, ~0U, ~0U};
    philox(ones, ~0U, ~0U);
    EXPECT_EQ(ones[0], 0x408f276dU);
    EXPECT_EQ(ones[1], 0x41c83b0eU);
    EXPECT_EQ(ones[2], 0xa20bc7c6U);
    EXPECT_EQ(ones[3], 0x6d5451fdU);
}

TEST(LinearGolden, products_over_bitsandbytes_weights_are_met) {
    REQUIRE_GOLDEN_VECTORS();
    const auto packed = golden<uint8_t>("wide.nf4");
    const auto absmax = golden<float>("wide.absmax");
    nibble_weight weight{};
    weight.rows = 256;
    weight.cols = 1024;
    weight.format = NIBBLE_WEIGHT_NF4;
    weight.data = packed.data();
    weight.absmax = absmax.data();
    for (const int64_t m : {1, 3, 17, 64}) {
        const std::string suffix = std::to_string(m);
        const auto x = golden<float>("wide.x" + suffix);
        const auto dy = golden<float>("wide.dy" + suffix);
        for (const auto& [isa, dtype] : machines()) {
            expect_ok(nibble_set_isa(isa));
            const Tensor input(dtype, x);
            const Tensor gradient(dtype, dy);
            Tensor y(dtype, static_cast<size_t>(m * 256));
            Tensor dx(dtype, static_cast<size_t>(m * 1024));
            expect_ok(nibble_linear_forward(&weight, nullptr, nullptr, dtype, input.data(), m, y.data(), nullptr));
            expect_ok(nibble_linear_backward(&weight, nullptr, dtype, nullptr, nullptr, gradient.data(), m, dx.data(),
                                             nullptr, nullptr));
            expect_close(y, golden<float>("wide.y" + suffix), tolerance(dtype), "y");
            expect_close(dx, golden<float>("wide.dx" + suffix), tolerance(dtype), "dx");
        }
    }
}
