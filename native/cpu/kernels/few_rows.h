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

#if defined(__AVX512BF16__)
// Two blocks of a weight's row, which fill a register.
inline constexpr int64_t kTwoRuns = 2 * kRun;
inline constexpr int64_t kBlocks = 64;  // Of a row, whose scales are decoded at once.

// x[cols] in the order in which words of NF4 hand out pairs: all first pairs of sixteen words, all second ones, ...;
// zeros up to a whole register.
inline void spread_pairs(const BFloat16* x, int64_t cols, BFloat16* dst) {
    const auto step = [](int first) {
        return _mm512_add_epi32(_mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29),
                                _mm512_set1_epi32(first));
    };
    for (int64_t i = 0; i < cols; i += kTwoRuns) {
        __m512i words[4] = {};
        for (int64_t part = 0; part < 4 && i + part * 2 * kLanes < cols; ++part) {
            words[part] = in_pairs(_mm512_loadu_si512(x + i + part * 2 * kLanes));
        }
        for (int two = 0; two < 4; two += 2) {
            const __m512i front = _mm512_permutex2var_epi32(words[0], step(two), words[1]);
            const __m512i back = _mm512_permutex2var_epi32(words[2], step(two), words[3]);
            _mm512_storeu_si512(dst + i + two * 2 * kLanes, _mm512_shuffle_i64x2(front, back, 0x44));
            _mm512_storeu_si512(dst + i + (two + 1) * 2 * kLanes, _mm512_shuffle_i64x2(front, back, 0xEE));
        }
    }
}

// total[W][M] += W rows of the weight times M rows of x, over blocks whose bytes and scales are given. Behind an odd
// number of them comes one of scale zero.
template <int M, int W>
void dot_words(const uint8_t* const (&bytes)[W], const float (*scales)[kBlocks + 1], int64_t blocks, int64_t ahead,
               const BFloat16* x, int64_t stride, __m512 (*total)[M]) {
    const __m512i code = nf4_code_words();
    const __m512i owner = _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi32(1), 1);  // Block of each lane.
    __m512 sums[W][M];
    std::memcpy(sums, total, sizeof(sums));
    for (int64_t b = 0; b < blocks; b += 2) {
        const __mmask16 there = b + 1 < blocks ? 0xFFFF : 0x00FF;
        __m512i words[W];
        __m512 part[W][M] = {};
        for (int w = 0; w < W; ++w) {
            words[w] = _mm512_maskz_loadu_epi32(there, bytes[w] + b * (kRun / 2));
            __builtin_prefetch(bytes[w] + b * (kRun / 2) + ahead);
        }
#pragma GCC unroll 4
        for (int pair = 0; pair < 4; ++pair) {
            __m512bh pairs[W];
            for (int w = 0; w < W; ++w) {
                pairs[w] =
                    reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_srli_epi16(words[w], 4 * pair), code));
            }
            for (int r = 0; r < M; ++r) {
                __m512i value = _mm512_loadu_si512(x + r * stride + b * kRun + pair * 2 * kLanes);
                asm("" : "+v"(value));  // GCC would rather load it again for the next row of the weight.
                for (int w = 0; w < W; ++w) {
                    part[w][r] = _mm512_dpbf16_ps(part[w][r], reinterpret_cast<__m512bh>(value), pairs[w]);
                }
            }
        }
        for (int w = 0; w < W; ++w) {
            double both;
            std::memcpy(&both, scales[w] + b, sizeof(both));
            const __m512 scale = _mm512_permutexvar_ps(owner, _mm512_castpd_ps(_mm512_set1_pd(both)));
            for (int r = 0; r < M; ++r) {
                sums[w][r] += part[w][r] * scale;
            }
        }
    }
    std::memcpy(total, sums, sizeof(sums));
}

// sums[w][r] of m <= kFewRows rows of x with W rows of the weight, from row n on. Rows past `count` repeat the last
// one.
template <int M, int W>
void dot_rows(const RunReader<BFloat16>& weight, int64_t n, int64_t count, const BFloat16* x, int64_t stride,
              float (*sums)[kFewRows]) {
    const int64_t blocks = weight.matrix().cols / kRun;
    const int64_t ahead = W * blocks * (kRun / 2);  // To the next rows.
    __m512 total[W][M] = {};
    for (int64_t first = 0; first < blocks; first += kBlocks) {
        const int64_t some = min_of(kBlocks, blocks - first);
        float scales[W][kBlocks + 1];
        const uint8_t* bytes[W];
        for (int64_t w = 0; w < W; ++w) {
            const int64_t block = (n + min_of(w, count - 1)) * blocks + first;
            bytes[w] = weight.block_bytes(block);
            weight.scales().fill(block, some, scales[w]);
            scales[w][some] = 0.0F;
        }
        dot_words<M, W>(bytes, scales, some, ahead, x + first * kRun, stride, total);
    }
    for (int64_t w = 0; w < count; ++w) {
        for (int r = 0; r < M; ++r) {
            sums[w][r] = _mm512_reduce_add_ps(total[w][r]);
        }
    }
}
#endif

// Whether rows of elements T meet the weight in whole blocks.
template <typename T>
bool meets_blocks(const nibble_weight& weight) {
    return sizeof(Multiplied<T>) < sizeof(float) && weight.format == NIBBLE_WEIGHT_NF4 && weight.cols % kRun == 0;
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
            // Half a line more: rows a power of two apart would fall on the same few lines of the cache.
            const int64_t stride = ceil_div(k, kTwoRuns) * kTwoRuns + kRun / 2;
            Scratch spread(m * stride * static_cast<int64_t>(sizeof(BFloat16)));
            auto* rows = spread.as<BFloat16>();
            for (int64_t r = 0; r < m; ++r) {
                spread_pairs(x + r * k, k, rows + r * stride);
            }
            for_each_group<kFewRows>(m, [&](auto count, int64_t) {
                constexpr int kWeightRows = count == 1 ? 4 : 2;  // Whose sums fit into registers.
                const int64_t groups = ceil_div(weight.rows, kWeightRows);
#pragma omp parallel for schedule(static) num_threads(workers)
                for (int64_t group = 0; group < groups; ++group) {
                    const int64_t n = group * kWeightRows;
                    const int64_t met = min_of(kWeightRows, weight.rows - n);
                    float sums[kWeightRows][kFewRows];
                    dot_rows<count, kWeightRows>(reader, n, met, rows, stride, sums);
                    for (int64_t w = 0; w < met; ++w) {
                        finish(n + w, sums[w]);
                    }
                }
            });
            return;
        }
    }
#endif
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
