#include <sys/mman.h>

#include <thread>

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
    enum class Kind { dense, nf4, nested, turned, turned_nested };

    // Every kind that the machine and the shape allow.
    static std::vector<Kind> kinds(int64_t rows, int64_t cols) {
        std::vector<Kind> kinds{Kind::dense, Kind::nf4, Kind::nested};
        if (on() == nullptr && rows % NIBBLE_TURNED_ROWS == 0 && cols % NIBBLE_NF4_BLOCK == 0 && cols >= 256) {
            kinds.insert(kinds.end(), {Kind::turned, Kind::turned_nested});
        }
        return kinds;
    }

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
            expect_ok(nibble_nf4_quantize(on(), dtype, dense.data(), count, packed.data(), absmax.data()));
            view.format = NIBBLE_WEIGHT_NF4;
            view.data = packed.data();
            view.absmax = absmax.data();
            if (kind == Kind::nested || kind == Kind::turned_nested) {
                codes.resize(absmax.size());
                nested.resize((absmax.size() + 255) / 256);
                expect_ok(nibble_nf4_quantize_absmax(absmax.data(), blocks, codes.data(), nested.data(),
                                                     &view.absmax_offset));
                view.absmax = nullptr;
                view.absmax_codes = codes.data();
                view.nested_absmax = nested.data();
            }
        }
        expect_ok(nibble_dequantize(on(), &view, NIBBLE_F32, values.data()));
        if (kind == Kind::turned || kind == Kind::turned_nested) {
            turn();
        }
    }

    void turn() {
        view.format = NIBBLE_WEIGHT_NF4_TURNED;
        expect_ok(nibble_nf4_turn(view.rows, view.cols, packed.data(), view.absmax == nullptr ? nullptr : absmax.data(),
                                  view.absmax_codes == nullptr ? nullptr : codes.data()));
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

// Odd and even depths, widths with and without a rest, few rows over several runs of a weight's row, and rows enough
// for a second copy; then sizes that tensor cores take, with and without rests of their tiles, and with their depth
// cut.
const Shape kShapes[] = {{1, 65, 172},   {3, 320, 128},  {17, 64, 172},  {129, 96, 320}, {5, 33, 7},     {2, 9, 1300},
                         {1000, 9, 36},  {1, 70, 2112},  {2, 33, 1088},  {4, 64, 64},    {5, 192, 1152}, {8, 1088, 64},
                         {16, 128, 192}, {17, 192, 320}, {64, 320, 192}, {129, 128, 64}, {17, 64, 1024}, {18, 1024, 64},
                         {6, 49, 1088},  {9, 40, 128},   {12, 33, 64},   {3, 5, 4288},   {6, 35, 2240}};

// Sizes of weights that can be turned, which is for the CPU: all numbers of rows that kernels treat alike, and depths
// with and without a rest.
const Shape kTurnedShapes[] = {{1, 64, 256},  {2, 96, 4288}, {3, 32, 2112}, {4, 288, 320},
                               {6, 32, 2240}, {8, 544, 576}, {12, 64, 512}, {13, 160, 576}};

std::vector<Shape> shapes() {
    std::vector<Shape> shapes(std::begin(kShapes), std::end(kShapes));
    if (on() == nullptr) {
        shapes.insert(shapes.end(), std::begin(kTurnedShapes), std::end(kTurnedShapes));
    }
    return shapes;
}

}  // namespace

class Linear : public OnEachMachine {};
INSTANTIATE_TEST_SUITE_P(Each, Linear, testing::ValuesIn(machines()), name_of);

TEST_P(Linear, forward_and_input_gradient_equal_float64_over_every_weight_format) {
    const nibble_dtype dtype = GetParam().dtype;
    bool adds = false;  // To a residual, every other time: so does each format, from shape to shape.
    for (const Shape& s : shapes()) {
        for (const auto kind : Weight::kinds(s.n, s.k)) {
            const Weight weight(s.n, s.k, kind, dtype);
            const Tensor x(dtype, random_values(static_cast<size_t>(s.m * s.k), 1));
            const Tensor bias(dtype, random_values(static_cast<size_t>(s.n), 2));
            const Tensor dy(dtype, random_values(static_cast<size_t>(s.m * s.n), 3));
            Tensor y(dtype, static_cast<size_t>(s.m * s.n));
            Tensor dx(dtype, static_cast<size_t>(s.m * s.k));
            expect_ok(nibble_linear_forward(on(), &weight.view, bias.data(), nullptr, dtype, x.data(),
                                            adds ? dy.data() : nullptr, s.m, y.data(), nullptr));
            expect_ok(nibble_linear_backward(on(), &weight.view, nullptr, dtype, nullptr, nullptr, dy.data(),
                                             adds ? x.data() : nullptr, s.m, dx.data(), nullptr, nullptr));
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
            for (size_t e = 0; adds && e < y.size(); ++e) {
                expected_y[e] += dy[e];
            }
            for (size_t e = 0; adds && e < dx.size(); ++e) {
                expected_dx[e] += x[e];
            }
            expect_close(y, expected_y, tolerance(dtype), "y");
            expect_close(dx, expected_dx, tolerance(dtype), "dx");
            adds = !adds;
        }
    }
}

namespace {

// Forward and all gradients of a layer with an adapter against float64.
void expect_adapter_equals_float64(nibble_dtype dtype, const Shape& s, int64_t rank, float dropout) {
    const Weight weight(s.n, s.k, Weight::kinds(s.n, s.k).back(), dtype);
    const auto a = random_values(static_cast<size_t>(rank * s.k), 21, 0.2F);
    const auto b = random_values(static_cast<size_t>(s.n * rank), 22, 0.2F);
    const nibble_lora lora{rank, 1.5F, dropout, a.data(), b.data(), 0x123456789ABCDEFULL, 7, 3};
    const Tensor x(dtype, random_values(static_cast<size_t>(s.m * s.k), 1));
    const Tensor bias(dtype, random_values(static_cast<size_t>(s.n), 2));
    const Tensor dy(dtype, random_values(static_cast<size_t>(s.m * s.n), 3));
    const Tensor y_residual(dtype, random_values(static_cast<size_t>(s.m * s.n), 4));
    const Tensor dx_residual(dtype, random_values(static_cast<size_t>(s.m * s.k), 5));
    Tensor y = y_residual;
    Tensor dx = dx_residual;
    std::vector<float> hidden(static_cast<size_t>(s.m * rank));
    std::vector<float> da(a.size());
    std::vector<float> db(b.size());
    expect_ok(nibble_linear_forward(on(), &weight.view, bias.data(), &lora, dtype, x.data(), y.data(), s.m, y.data(),
                                    hidden.data()));
    expect_ok(nibble_linear_backward(on(), &weight.view, &lora, dtype, x.data(), hidden.data(), dy.data(), dx.data(),
                                     s.m, dx.data(), da.data(), db.data()));

    const auto at = [](int64_t row, int64_t width, int64_t col) { return static_cast<size_t>(row * width + col); };
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
            double sum = bias[static_cast<size_t>(n)];
            for (int64_t k = 0; k < s.k; ++k) {
                sum += x[at(i, s.k, k)] * weight.at(n, k);
                edx[at(i, s.k, k)] += dy[at(i, s.n, n)] * weight.at(n, k);
            }
            for (int64_t r = 0; r < rank; ++r) {
                sum += scale * eu[at(i, rank, r)] * static_cast<double>(b[at(n, rank, r)]);
                edb[at(n, rank, r)] += scale * dy[at(i, s.n, n)] * eu[at(i, rank, r)];
            }
            ey[at(i, s.n, n)] = sum + y_residual[at(i, s.n, n)];
        }
        for (int64_t k = 0; k < s.k; ++k) {
            double share = 0;
            for (int64_t r = 0; r < rank; ++r) {
                share += eg[at(i, rank, r)] * static_cast<double>(a[at(r, s.k, k)]);
                eda[at(r, s.k, k)] += eg[at(i, rank, r)] * dropped[at(i, s.k, k)];
            }
            edx[at(i, s.k, k)] += share * factor[at(i, s.k, k)] + dx_residual[at(i, s.k, k)];
        }
    }
    expect_close(hidden, eu, 2e-5, "hidden");
    expect_close(y, ey, tolerance(dtype), "y");
    expect_close(dx, edx, tolerance(dtype), "dx");
    expect_close(da, eda, 5e-5, "da");
    expect_close(db, edb, 5e-5, "db");
}

}  // namespace

TEST_P(Linear, adapter_forward_and_gradients_equal_float64_with_and_without_dropout) {
    for (const Shape& s : shapes()) {
        for (const float dropout : {0.0F, 0.25F}) {
            expect_adapter_equals_float64(GetParam().dtype, s, 5, dropout);
        }
    }
}

TEST_P(Linear, what_the_adapter_makes_of_x_is_to_be_had_without_the_output) {
    const nibble_dtype dtype = GetParam().dtype;
    for (const int64_t m : {3, 17, 129}) {
        const int64_t n = 64, k = 128, rank = 5;
        const Weight weight(n, k, Weight::Kind::nf4, dtype);
        const auto a = random_values(static_cast<size_t>(rank * k), 21, 0.2F);
        const auto b = random_values(static_cast<size_t>(n * rank), 22, 0.2F);
        const nibble_lora lora{rank, 1.5F, 0.25F, a.data(), b.data(), 42, 7, 3};
        const Tensor x(dtype, random_values(static_cast<size_t>(m * k), 1));
        Tensor y(dtype, static_cast<size_t>(m * n));
        std::vector<float> with_output(static_cast<size_t>(m * rank));
        std::vector<float> alone(with_output.size());
        expect_ok(nibble_linear_forward(on(), &weight.view, nullptr, &lora, dtype, x.data(), nullptr, m, y.data(),
                                        with_output.data()));
        expect_ok(nibble_linear_forward(on(), &weight.view, nullptr, &lora, dtype, x.data(), nullptr, m, nullptr,
                                        alone.data()));
        EXPECT_EQ(alone, with_output);
    }
}

TEST_P(Linear, adapters_of_any_rank_up_to_256_equal_float64) {
    for (const int64_t rank : {1, 16, 37, 64, 256}) {
        expect_adapter_equals_float64(GetParam().dtype, {17, 64, 128}, rank, 0.1F);
    }
}

TEST_P(Linear, adapters_of_more_rows_than_a_panel_holds_equal_float64) {
    expect_adapter_equals_float64(GetParam().dtype, {1100, 32, 64}, 4, 0.1F);
}

namespace {

void expect_same_bits(nibble_dtype dtype, const Shape& s, Weight::Kind kind, const std::vector<int>& thread_counts) {
    const int64_t rank = 6;
    const Weight weight(s.n, s.k, kind, dtype);
    const auto a = random_values(static_cast<size_t>(rank * s.k), 21, 0.2F);
    const auto b = random_values(static_cast<size_t>(s.n * rank), 22, 0.2F);
    const nibble_lora lora{rank, 1.5F, 0.1F, a.data(), b.data(), 42, 7, 3};
    const Tensor x(dtype, random_values(static_cast<size_t>(s.m * s.k), 1));
    const Tensor dy(dtype, random_values(static_cast<size_t>(s.m * s.n), 3));

    struct Results {
        Tensor plain, y, dx;
        std::vector<float> hidden, da, db;
        bool operator==(const Results&) const = default;
    };
    std::vector<Results> results;
    for (const int threads : thread_counts) {
        expect_ok(nibble_set_num_threads(threads));
        Results r{Tensor(dtype, dy.size()),     Tensor(dtype, dy.size()),
                  Tensor(dtype, x.size()),      std::vector<float>(static_cast<size_t>(s.m * rank)),
                  std::vector<float>(a.size()), std::vector<float>(b.size())};
        expect_ok(nibble_linear_forward(on(), &weight.view, nullptr, nullptr, dtype, x.data(), nullptr, s.m,
                                        r.plain.data(), nullptr));
        expect_ok(nibble_linear_forward(on(), &weight.view, nullptr, &lora, dtype, x.data(), nullptr, s.m, r.y.data(),
                                        r.hidden.data()));
        expect_ok(nibble_linear_backward(on(), &weight.view, &lora, dtype, x.data(), r.hidden.data(), dy.data(),
                                         nullptr, s.m, r.dx.data(), r.da.data(), r.db.data()));
        results.push_back(std::move(r));
        EXPECT_TRUE(results.back() == results.front()) << threads << " threads";
    }
}

}  // namespace

TEST_P(Linear, forward_and_backward_are_the_same_to_the_bit_at_every_run_and_thread_count) {
    expect_same_bits(GetParam().dtype, {129, 96, 320}, Weight::kinds(96, 320).back(), {1, 1, 2, 2, 3, 3, 5, 5});
    if (on() == nullptr) {  // Rows that many threads share out in pieces of few.
        expect_same_bits(GetParam().dtype, {400, 160, 512}, Weight::Kind::dense, {1, 12});
    }
}

namespace {

// A copy of a tensor behind whose last byte no memory can be read.
class AtTheEnd {
  public:
    AtTheEnd(const Tensor& tensor, size_t bytes) : size_((bytes + kPage - 1) / kPage * kPage + kPage) {
        memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        EXPECT_NE(memory_, MAP_FAILED);
        EXPECT_EQ(mprotect(static_cast<char*>(memory_) + size_ - kPage, kPage, PROT_NONE), 0);
        data_ = static_cast<char*>(memory_) + size_ - kPage - bytes;
        std::memcpy(data_, tensor.data(), bytes);
    }
    AtTheEnd(const AtTheEnd&) = delete;
    AtTheEnd& operator=(const AtTheEnd&) = delete;
    ~AtTheEnd() { munmap(memory_, size_); }

    const void* data() const { return data_; }

  private:
    static constexpr size_t kPage = 4096;

    size_t size_;
    void* memory_;
    char* data_;
};

}  // namespace

TEST_P(Linear, nothing_is_read_behind_the_end_of_a_matrix) {
    if (on() != nullptr) {
        GTEST_SKIP() << "memory of a GPU has bounds of its own";
    }
    const nibble_dtype dtype = GetParam().dtype;
    const size_t element = dtype == NIBBLE_F32 ? 4 : 2;
    for (const Shape& s : {Shape{5, 33, 70}, Shape{18, 48, 600}, Shape{300, 80, 66}}) {
        const auto bytes = [&](int64_t rows, int64_t cols) { return static_cast<size_t>(rows * cols) * element; };
        const AtTheEnd values(Tensor(dtype, random_values(static_cast<size_t>(s.n * s.k), 1)), bytes(s.n, s.k));
        const AtTheEnd x(Tensor(dtype, random_values(static_cast<size_t>(s.m * s.k), 2)), bytes(s.m, s.k));
        const AtTheEnd dy(Tensor(dtype, random_values(static_cast<size_t>(s.m * s.n), 3)), bytes(s.m, s.n));
        nibble_weight weight{};
        weight.rows = s.n;
        weight.cols = s.k;
        weight.format = dtype;
        weight.data = values.data();
        const auto a = random_values(static_cast<size_t>(4 * s.k), 4);
        const auto b = random_values(static_cast<size_t>(s.n * 4), 5);
        const nibble_lora lora{4, 1.0F, 0.0F, a.data(), b.data(), 0, 0, 0};
        Tensor y(dtype, static_cast<size_t>(s.m * s.n));
        Tensor dx(dtype, static_cast<size_t>(s.m * s.k));
        std::vector<float> da(a.size()), db(b.size());
        expect_ok(
            nibble_linear_forward(on(), &weight, nullptr, &lora, dtype, x.data(), nullptr, s.m, y.data(), nullptr));
        expect_ok(nibble_linear_backward(on(), &weight, &lora, dtype, x.data(), nullptr, dy.data(), nullptr, s.m,
                                         dx.data(), da.data(), db.data()));
    }
}

TEST_P(Linear, backward_gives_the_same_adapter_gradients_without_a_kept_hidden_and_without_an_input_gradient) {
    const nibble_dtype dtype = GetParam().dtype;
    const int64_t m = 19, n = 33, k = 70, rank = 3;
    const Weight weight(n, k, Weight::Kind::nf4, dtype);
    const auto a = random_values(static_cast<size_t>(rank * k), 21);
    const auto b = random_values(static_cast<size_t>(n * rank), 22);
    const nibble_lora lora{rank, 1.5F, 0.25F, a.data(), b.data(), 42, 7, 3};
    const Tensor x(dtype, random_values(static_cast<size_t>(m * k), 1));
    const Tensor dy(dtype, random_values(static_cast<size_t>(m * n), 3));
    Tensor y(dtype, dy.size());
    std::vector<float> hidden(static_cast<size_t>(m * rank));
    expect_ok(nibble_linear_forward(on(), &weight.view, nullptr, &lora, dtype, x.data(), nullptr, m, y.data(),
                                    hidden.data()));
    Tensor dx(dtype, x.size());
    std::vector<float> da(a.size()), db(b.size());
    expect_ok(nibble_linear_backward(on(), &weight.view, &lora, dtype, x.data(), hidden.data(), dy.data(), nullptr, m,
                                     dx.data(), da.data(), db.data()));
    std::vector<float> other_da(a.size()), other_db(b.size());
    expect_ok(nibble_linear_backward(on(), &weight.view, &lora, dtype, x.data(), nullptr, dy.data(), nullptr, m,
                                     nullptr, other_da.data(), other_db.data()));
    EXPECT_EQ(other_da, da);
    EXPECT_EQ(other_db, db);
}

// Float32 alone: rounding a result to 16 bits would hide the sum's error.
class LinearFloat32 : public OnEachMachine {};
INSTANTIATE_TEST_SUITE_P(Each, LinearFloat32, testing::ValuesIn(machines({NIBBLE_F32})), name_of);

TEST_P(LinearFloat32, long_sums_of_one_sign_keep_float32_accuracy) {
    const int64_t n = 33, k = 40000;
    std::vector<float> values = random_values(static_cast<size_t>(n * k), 1);
    for (float& value : values) {
        value = std::fabs(value);
    }
    nibble_weight weight{};
    weight.rows = n;
    weight.cols = k;
    weight.data = values.data();
    for (const int64_t m : {2, 7}) {
        const std::vector<float> x(values.begin(), values.begin() + m * k);
        std::vector<float> y(static_cast<size_t>(m * n));
        expect_ok(nibble_linear_forward(on(), &weight, nullptr, nullptr, NIBBLE_F32, x.data(), nullptr, m, y.data(),
                                        nullptr));
        for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < n; ++j) {
                double sum = 0;
                for (int64_t d = 0; d < k; ++d) {
                    sum += static_cast<double>(x[static_cast<size_t>(i * k + d)]) *
                           static_cast<double>(values[static_cast<size_t>(j * k + d)]);
                }
                EXPECT_NEAR(static_cast<double>(y[static_cast<size_t>(i * n + j)]) / sum, 1.0, 1e-6) << m << " rows";
            }
        }
    }
}

TEST_P(Linear, callers_on_several_threads_do_not_disturb_each_other) {
    const nibble_dtype dtype = GetParam().dtype;
    const int64_t m = 31, n = 96, k = 128, rank = 4;
    const Weight weight(n, k, Weight::Kind::nested, dtype);
    const Tensor x(dtype, random_values(static_cast<size_t>(m * k), 1));
    const auto a = random_values(static_cast<size_t>(rank * k), 2, 0.1F);
    const auto b = random_values(static_cast<size_t>(n * rank), 3, 0.1F);
    const nibble_lora lora{rank, 1.0F, 0.0F, a.data(), b.data(), 0, 0, 0};
    const auto forward = [&] {  // On a GPU its first wish is memory for what the adapter makes of x.
        Tensor y(dtype, static_cast<size_t>(m * n));
        expect_ok(
            nibble_linear_forward(on(), &weight.view, nullptr, &lora, dtype, x.data(), nullptr, m, y.data(), nullptr));
        return y;
    };
    const Tensor expected = forward();
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 3; ++caller) {
        callers.emplace_back([&] {
            for (int run = 0; run < 5; ++run) {
                EXPECT_TRUE(forward() == expected);
            }
        });
    }
    for (std::thread& caller : callers) {
        caller.join();
    }
}

TEST(LinearGradients, of_no_rows_are_zero) {
    const auto values = random_values(4 * 8, 1);
    nibble_weight weight{};
    weight.rows = 4;
    weight.cols = 8;
    weight.data = values.data();
    const nibble_lora lora{2, 1, 0, values.data(), values.data(), 0, 0, 0};
    std::vector<float> da(2 * 8, 9.0F), db(4 * 2, 9.0F);
    expect_ok(nibble_linear_backward(on(), &weight, &lora, NIBBLE_F32, nullptr, nullptr, nullptr, nullptr, 0, nullptr,
                                     da.data(), db.data()));
    EXPECT_EQ(da, std::vector<float>(da.size()));
    EXPECT_EQ(db, std::vector<float>(db.size()));
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
    auto turned_packed = packed;
    auto turned_absmax = absmax;
    expect_ok(nibble_nf4_turn(256, 1024, turned_packed.data(), turned_absmax.data(), nullptr));
    nibble_weight turned = weight;
    turned.format = NIBBLE_WEIGHT_NF4_TURNED;
    turned.data = turned_packed.data();
    turned.absmax = turned_absmax.data();
    for (const int64_t m : {1, 3, 17, 64}) {
        const std::string suffix = std::to_string(m);
        const auto x = golden<float>("wide.x" + suffix);
        const auto dy = golden<float>("wide.dy" + suffix);
        for (const Machine& machine : machines()) {
            const Using use(machine);
            const nibble_dtype dtype = machine.dtype;
            const Tensor input(dtype, x);
            const Tensor gradient(dtype, dy);
            for (const nibble_weight* one : {&weight, &turned}) {
                if (one == &turned && on() != nullptr) {
                    continue;  // For the CPU only.
                }
                Tensor y(dtype, static_cast<size_t>(m * 256));
                Tensor dx(dtype, static_cast<size_t>(m * 1024));
                expect_ok(nibble_linear_forward(on(), one, nullptr, nullptr, dtype, input.data(), nullptr, m, y.data(),
                                                nullptr));
                expect_ok(nibble_linear_backward(on(), one, nullptr, dtype, nullptr, nullptr, gradient.data(), nullptr,
                                                 m, dx.data(), nullptr, nullptr));
                expect_close(y, golden<float>("wide.y" + suffix), tolerance(dtype), "y");
                expect_close(dx, golden<float>("wide.dx" + suffix), tolerance(dtype), "dx");
            }
        }
    }
}
