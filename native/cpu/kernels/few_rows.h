// The product for so few rows that packing costs more than multiplying: every run of a weight is decoded once, in
// registers, and meets all rows there.

inline constexpr int64_t kFewFloatRows = 4;
inline constexpr int64_t kFewRows = 16;  // Of BFloat16 with a weight in NF4.

// One row of the weight with m <= kFewFloatRows rows of x.
inline void dot_rows(const nibble_weight& weight, int64_t n, const float* x, int64_t m, float* sums) {
    constexpr int64_t kLength = 1024;
    const int64_t k = weight.cols;
    alignas(64) float values[kLength];
    Vec parts[kFewFloatRows] = {};
    float tails[kFewFloatRows] = {};
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

#if defined(__AVX512BF16__)
// Of one piece of the work: rows of the weight, blocks of them whose x stays in the first-level cache, and rows of x
// that share a decoded block.
inline constexpr int64_t kWeightRows = 16;
inline constexpr int64_t kBlockRows = 8;
constexpr int64_t weight_blocks(int m) {
    return m > kBlockRows / 2 ? 16 : 128 / m / 16 * 16;
}

// Sums of a row of x with a row of the weight: of few rows more, since each product waits for the one before it.
constexpr int chains(int m) {
    return m <= 4 ? 2 : 1;
}

// parts[2][M][chains] += two rows of an NF4 weight times M rows of x, over blocks. They begin at block `first` and
// `step` blocks later.
template <int M>
void dot_blocks(const RunReader<BFloat16>& weight, int64_t first, int64_t step, int64_t blocks, const float* scales,
                const BFloat16* x, int64_t stride, __m512* parts) {
    constexpr int kChains = chains(M);
    const float* second_scales = scales + weight_blocks(M);
    __m512 sums[2][M][kChains];
    std::memcpy(sums, parts, sizeof(sums));
    // Decoded one step ahead: a look-up waits long, and the products wait for it.
    Run next[2] = {weight.block(first, scales[0]), weight.block(first + step, second_scales[0])};
    for (int64_t b = 0; b < blocks; ++b) {
        const Run runs[2] = {next[0], next[1]};
        const int64_t ahead = min_of(b + 1, blocks - 1);
        __builtin_prefetch(weight.block_bytes(first + 2 * step + b));  // Of the next two rows.
        __builtin_prefetch(weight.block_bytes(first + 3 * step + b));
        next[0] = weight.block(first + ahead, scales[ahead]);
        next[1] = weight.block(first + step + ahead, second_scales[ahead]);
        for (int r = 0; r < M; ++r) {
            const BFloat16* row = x + r * stride + b * kRun;
            __m512i low = _mm512_loadu_si512(row);
            __m512i high = _mm512_loadu_si512(row + kRun / 2);
            asm("" : "+v"(low), "+v"(high));  // GCC would rather load them again for the second row.
            for (int w = 0; w < 2; ++w) {
                __m512& front = sums[w][r][0];
                front =
                    _mm512_dpbf16_ps(front, reinterpret_cast<__m512bh>(low), reinterpret_cast<__m512bh>(runs[w].low));
                __m512& back = sums[w][r][kChains - 1];
                back =
                    _mm512_dpbf16_ps(back, reinterpret_cast<__m512bh>(high), reinterpret_cast<__m512bh>(runs[w].high));
            }
        }
    }
    std::memcpy(parts, sums, sizeof(sums));
}

// sums[w][r], w < count, of rows [n, n + count) of the weight with M rows of x. An odd row is met twice.
template <int M>
void dot_group(const RunReader<BFloat16>& weight, int64_t n, int64_t count, const BFloat16* x, int64_t stride,
               float (*sums)[kFewRows]) {
    constexpr int kChains = chains(M);
    constexpr int64_t kBlocks = weight_blocks(M);
    const int64_t step = weight.matrix().cols / kRun;
    __m512 parts[kWeightRows][M][kChains] = {};
    for (int64_t b = 0; b < step; b += kBlocks) {
        const int64_t blocks = min_of(kBlocks, step - b);
        for (int64_t w = 0; w < count; w += 2) {
            const int64_t first = (n + w) * step + b;
            const int64_t second = w + 1 < count ? step : 0;
            float scales[2 * kBlocks];
            weight.scales().fill(first, blocks, scales);
            weight.scales().fill(first + second, blocks, scales + kBlocks);
            dot_blocks<M>(weight, first, second, blocks, scales, x + b * kRun, stride, parts[w][0]);
        }
    }
    for (int64_t w = 0; w < count; ++w) {
        for (int r = 0; r < M; ++r) {
            const __m512 front = parts[w][r][0];
            sums[w][r] = _mm512_reduce_add_ps(kChains == 1 ? front : _mm512_add_ps(front, parts[w][r][kChains - 1]));
        }
    }
}

inline void dot_group(const RunReader<BFloat16>& weight, int64_t n, int64_t count, const BFloat16* x, int64_t stride,
                      int64_t m, float (*sums)[kFewRows]) {
    using Kernel = void (*)(const RunReader<BFloat16>&, int64_t, int64_t, const BFloat16*, int64_t, float(*)[kFewRows]);
    static constexpr auto kKernels = []<int... M>(std::integer_sequence<int, M...>) {
        return std::array<Kernel, sizeof...(M)>{static_cast<Kernel>(&dot_group<M + 1>)...};
    }
    (std::make_integer_sequence<int, kBlockRows>{});
    const int64_t parts = ceil_div(m, kBlockRows);
    for (int64_t part = 0; part < parts; ++part) {
        const int64_t first = m * part / parts;
        const int64_t rows = m * (part + 1) / parts - first;
        float some[kWeightRows][kFewRows];
        kKernels[static_cast<size_t>(rows - 1)](weight, n, count, x + first * stride, stride, some);
        for (int64_t w = 0; w < count; ++w) {
            std::memcpy(sums[w] + first, some[w], sizeof(float) * static_cast<size_t>(rows));
        }
    }
}
#endif

// Whether rows of elements T meet the weight in whole blocks.
template <typename T>
bool meets_blocks(const nibble_weight& weight) {
    return sizeof(Multiplied<T>) < sizeof(float) && weight.format == NIBBLE_WEIGHT_NF4 && weight.cols % kRun == 0;
}

// Whether m rows of elements T take this way.
template <typename T>
bool are_few_rows(const nibble_weight& weight, int64_t m) {
    return m <= (meets_blocks<T>(weight) ? kFewRows : kFewFloatRows);
}

// finish(n, sums) takes the sums of every row of the weight with the m rows of x.
template <typename T, typename Finish>
void multiply_few_rows(const nibble_weight& weight, const T* x, int64_t m, const Finish& finish) {
    const int64_t k = weight.cols;
    const int workers = threads_for(weight.rows * k / kLanes);
#if defined(__AVX512BF16__)
    if constexpr (sizeof(Multiplied<T>) < sizeof(float)) {
        if (meets_blocks<T>(weight)) {
            const RunReader<BFloat16> reader(weight);
            // Rows a power of two apart would fall on the same few lines of the cache.
            const int64_t stride = k + kRun / 2;
            Scratch spread(m * stride * static_cast<int64_t>(sizeof(BFloat16)));
            auto* rows = spread.as<BFloat16>();
            for (int64_t r = 0; r < m; ++r) {
                std::memcpy(rows + r * stride, x + r * k, sizeof(BFloat16) * static_cast<size_t>(k));
            }
#pragma omp parallel for schedule(static) num_threads(workers)
            for (int64_t n = 0; n < weight.rows; n += kWeightRows) {
                float sums[kWeightRows][kFewRows];
                const int64_t count = min_of(kWeightRows, weight.rows - n);
                dot_group(reader, n, count, rows, stride, m, sums);
                for (int64_t w = 0; w < count; ++w) {
                    finish(n + w, sums[w]);
                }
            }
            return;
        }
    }
#endif
    Scratch copy(m * k * static_cast<int64_t>(sizeof(float)));
    auto* rows = copy.as<float>();
    convert_to_float(x, m * k, rows);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t n = 0; n < weight.rows; ++n) {
        float sums[kFewFloatRows];
        dot_rows(weight, n, rows, m, sums);
        finish(n, sums);
    }
}
