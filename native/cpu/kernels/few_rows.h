// The product for so few rows that packing costs more than multiplying: every run of a weight is decoded once, in
// registers, and meets all rows there.

inline constexpr int64_t kFewRows = 4;

// One row of the weight with m <= kFewRows rows of x.
inline void dot_rows(const nibble_weight& weight, int64_t n, const float* x, int64_t m, float* sums) {
    constexpr int64_t kLength = 1024;
    const int64_t k = weight.cols;
    alignas(64) float values[kLength];
    Vec parts[kFewRows] = {};
    float tails[kFewRows] = {};
    for (int64_t d = 0; d < k; d += kLength) {
        const int64_t length = min_of(kLength, k - d);
        decode(weight, n * k + d, length, values);
        for (int64_t r = 0; r < m; ++r) {
            const float* row = x + r * k + d;
            Vec part = {};
            int64_t i = 0;
            for (; i + kLanes <= length; i += kLanes) {
                part += load(row + i) * load(values + i);
            }
            for (; i < length; ++i) {
                tails[r] += row[i] * values[i];
            }
            parts[r] += part;
        }
    }
    for (int64_t r = 0; r < m; ++r) {
        sums[r] = sum_lanes(parts[r]) + tails[r];
    }
}

// finish(n, sums) takes the sums of every row of the weight with the m rows of x.
template <typename T, typename Finish>
void multiply_few_rows(const nibble_weight& weight, const T* x, int64_t m, const Finish& finish) {
    const int64_t k = weight.cols;
    const int workers = threads_for(weight.rows * k / kLanes);
    Scratch copy(m * k * static_cast<int64_t>(sizeof(float)));
    auto* rows = copy.as<float>();
    convert_to_float(x, m * k, rows);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t n = 0; n < weight.rows; ++n) {
        float sums[kFewRows];
        dot_rows(weight, n, rows, m, sums);
        finish(n, sums);
    }
}
