// y = x * W^T + b + scale * drop(x) * A^T * B^T and its gradients. The adapter is `rank` more columns of the inner
// dimension: a second term on the same accumulators.

// x as the left operand: in its own type where it can be multiplied so, otherwise as float32, with dropout applied.
// (bfloat16 pairs need an even depth.)
template <typename T>
constexpr bool multiplies_natively(int64_t depth) {
#if defined(__AVX512BF16__)
    return sizeof(T) == 4 || (std::is_same_v<T, BFloat16> && depth % 2 == 0);
#else
    (void)depth;
    return sizeof(T) == 4;
#endif
}

template <typename T>
void float_rows(const T* src, int64_t rows, int64_t cols, const nibble_lora* dropout, int64_t first_row, float* dst) {
    const int workers = threads_for(rows * cols);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t r = 0; r < rows; ++r) {
        float* row = dst + r * cols;
        convert_to_float(src + r * cols, cols, row);
        if (dropout == nullptr || dropout->dropout == 0.0F) {
            continue;
        }
        constexpr int64_t kRun = 256;
        float factors[kRun];
        for (int64_t c = 0; c < cols; c += kRun) {
            const int64_t run = min_of(kRun, cols - c);
            dropout_factors(*dropout, (first_row + r) * cols + c, run, factors);
            for (int64_t i = 0; i < run; ++i) {
                row[c + i] *= factors[i];
            }
        }
    }
}

// Calls body with a matrix as a left operand; float32 copies of other types live as long as the call.
template <typename T, typename Body>
void with_rows(const T* data, int64_t rows, int64_t cols, Body&& body) {
    if constexpr (std::is_same_v<T, float>) {
        return body(Rows<float>{data, cols});
    } else {
#if defined(__AVX512BF16__)
        if constexpr (std::is_same_v<T, BFloat16>) {
            if (multiplies_natively<T>(cols)) {
                return body(Rows<BFloat16>{data, cols});
            }
        }
#endif
        Scratch scratch(rows * cols * static_cast<int64_t>(sizeof(float)));
        float_rows(data, rows, cols, nullptr, 0, scratch.as<float>());
        body(Rows<float>{scratch.as<float>(), cols});
    }
}

// Rows at a time, so that float32 copies stay small.
inline constexpr int64_t kCopyRows = 2 * kRowChunk;

// Few rows: every weight is decoded once and multiplied from registers, without packing.
inline constexpr int64_t kFewRows = 4;

inline float dot(const float* a, const float* b, int64_t count) {
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; ++i) {
        sum += a[i] * b[i];
    }
    return sum;
}

template <typename T>
void linear_few_rows(const nibble_weight& weight, const T* bias, const nibble_lora* lora, const float* lora_hidden,
                     const T* x, int64_t m, T* y) {
    constexpr int64_t kRun = 1024;
    const int64_t k = weight.cols;
    Scratch copy(m * k * static_cast<int64_t>(sizeof(float)));
    auto* rows = copy.as<float>();
    convert_to_float(x, m * k, rows);
    const int workers = threads_for(weight.rows * k);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t n = 0; n < weight.rows; ++n) {
        alignas(64) float values[kRun];
        Vec sums[kFewRows] = {};
        float tails[kFewRows] = {};
        for (int64_t d = 0; d < k; d += kRun) {
            const int64_t run = min_of(kRun, k - d);
            decode(weight, n * k + d, run, values);
            for (int64_t r = 0; r < m; ++r) {
                const float* row = rows + r * k + d;
                Vec part = {};
                int64_t i = 0;
                for (; i + kLanes <= run; i += kLanes) {
                    part += load(row + i) * load(values + i);
                }
                for (; i < run; ++i) {
                    tails[r] += row[i] * values[i];
                }
                sums[r] += part;
            }
        }
        for (int64_t r = 0; r < m; ++r) {
            float sum = tails[r] + (bias != nullptr ? to_float(bias[n]) : 0.0F);
            for (int lane = 0; lane < kLanes; ++lane) {
                sum += sums[r][lane];
            }
            if (lora != nullptr) {
                sum += lora->scale * dot(lora_hidden + r * lora->rank, lora->b + n * lora->rank, lora->rank);
            }
            y[r * weight.rows + n] = from_float<T>(sum);
        }
    }
}

// hidden[m, rank] = drop(x) * A^T.
template <typename T>
void lora_down(const nibble_lora& lora, const T* x, int64_t m, int64_t k, float* hidden) {
    const nibble_weight a = dense(lora.a, lora.rank, k, NIBBLE_F32);
    Scratch copy(min_of(kCopyRows, m) * k * static_cast<int64_t>(sizeof(float)));
    for (int64_t r = 0; r < m; r += kCopyRows) {
        const int64_t rows = min_of(kCopyRows, m - r);
        float_rows(x + r * k, rows, k, &lora, r, copy.as<float>());
        multiply(rows, lora.rank, StoreTiles<float>{hidden + r * lora.rank, lora.rank},
                 Term{Rows<float>{copy.as<float>(), k}, k, PackTransposed{a}});
    }
}

template <typename T>
void linear_forward_of(const nibble_weight& weight, const T* bias, const nibble_lora* lora, const T* x, int64_t m, T* y,
                       float* lora_hidden) {
    const int64_t k = weight.cols;
    const int64_t n = weight.rows;
    const int64_t rank = lora == nullptr ? 0 : lora->rank;
    Scratch own_hidden(lora_hidden == nullptr ? m * rank * static_cast<int64_t>(sizeof(float)) : 0);
    float* hidden = lora_hidden == nullptr ? own_hidden.as<float>() : lora_hidden;
    if (lora != nullptr) {
        lora_down(*lora, x, m, k, hidden);
    }
    if (m <= kFewRows) {
        return linear_few_rows(weight, bias, lora, hidden, x, m, y);
    }
    Scratch scaled(m * rank * static_cast<int64_t>(sizeof(float)));
    nibble_weight up{};
    if (lora != nullptr) {
        for (int64_t i = 0; i < m * rank; ++i) {
            scaled.as<float>()[i] = hidden[i] * lora->scale;
        }
        up = dense(lora->b, n, rank, NIBBLE_F32);
    }
    for (int64_t r = 0; r < m; r += kCopyRows) {
        const int64_t rows = min_of(kCopyRows, m - r);
        with_rows(x + r * k, rows, k, [&](auto a) {
            multiply(rows, n, StoreTiles<T>{y + r * n, n, 1.0F, bias}, Term{a, k, PackTransposed{weight}},
                     Term{Rows<float>{scaled.as<float>() + r * rank, rank}, rank, PackTransposed{up}});
        });
    }
}

inline void linear_forward(const nibble_weight& weight, const void* bias, const nibble_lora* lora, nibble_dtype dtype,
                           const void* x, int64_t m, void* y, float* lora_hidden) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        linear_forward_of<T>(weight, static_cast<const T*>(bias), lora, static_cast<const T*>(x), m, static_cast<T*>(y),
                             lora_hidden);
    });
}

inline void transpose(const float* src, int64_t rows, int64_t cols, float factor, float* dst) {
    for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
            dst[c * rows + r] = src[r * cols + c] * factor;
        }
    }
}

// Packs tiles of drop(x) [m, k] as float32, for the gradient of A.
template <typename T>
struct PackDropped {
    const T* x;
    int64_t k;
    const nibble_lora& lora;

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, float* tile) const {
        float factors[kTileCols];
        for (int64_t d = 0; d < depth; ++d) {
            const int64_t first = (depth_first + d) * k + col_first;
            float* row = tile + d * kTileCols;
            convert_to_float(x + first, cols, row);
            if (lora.dropout > 0.0F) {
                dropout_factors(lora, first, cols, factors);
                for (int64_t c = 0; c < cols; ++c) {
                    row[c] *= factors[c];
                }
            }
        }
    }
};

// Stores base + mask * update, where the update's sums are in their own tile.
template <typename T>
void backward_input(const nibble_weight& weight, const nibble_lora* lora, const float* grad_hidden, const T* dy,
                    int64_t m, T* dx) {
    const int64_t k = weight.cols;
    const int64_t n = weight.rows;
    const int64_t rank = lora == nullptr ? 0 : lora->rank;
    const nibble_weight down = lora == nullptr ? nibble_weight{} : dense(lora->a, rank, k, NIBBLE_F32);
    const bool masked = lora != nullptr && lora->dropout > 0.0F;
    Scratch update(masked ? min_of(kCopyRows, m) * k * static_cast<int64_t>(sizeof(float)) : 0);
    for (int64_t r = 0; r < m; r += kCopyRows) {
        const int64_t rows = min_of(kCopyRows, m - r);
        const Term adapter{Rows<float>{grad_hidden + r * rank, rank}, rank, PackStraight{down}};
        with_rows(dy + r * n, rows, n, [&](auto a) {
            const Term base{a, n, PackStraight{weight}};
            if (!masked) {
                return multiply(rows, k, StoreTiles<T>{dx + r * k, k}, base, adapter);
            }
            // The mask acts on the adapter's share alone, so that share is summed apart.
            multiply(rows, k, StoreTiles<float>{update.as<float>(), k}, adapter);
            const auto finish = [&](int, int64_t row_first, int64_t tile_rows, int64_t col_first, int64_t cols,
                                    const float* acc) {
                float factors[kTileCols];
                for (int64_t i = 0; i < tile_rows; ++i) {
                    const int64_t row = row_first + i;
                    const int64_t first = (r + row) * k + col_first;
                    dropout_factors(*lora, first, cols, factors);
                    for (int64_t c = 0; c < cols; ++c) {
                        const float share = update.as<float>()[row * k + col_first + c] * factors[c];
                        dx[first + c] = from_float<T>(acc[i * kTileCols + c] + share);
                    }
                }
            };
            multiply(rows, k, finish, base);
        });
    }
}

template <typename T>
void linear_backward_of(const nibble_weight& weight, const nibble_lora* lora, const T* x, const float* lora_hidden,
                        const T* dy, int64_t m, T* dx, float* da, float* db) {
    if (lora == nullptr) {
        return backward_input<T>(weight, nullptr, nullptr, dy, m, dx);
    }
    const int64_t k = weight.cols;
    const int64_t n = weight.rows;
    const int64_t rank = lora->rank;
    const int64_t hidden_bytes = m * rank * static_cast<int64_t>(sizeof(float));
    Scratch own_hidden(lora_hidden == nullptr ? hidden_bytes : 0);
    const float* hidden = lora_hidden;
    if (hidden == nullptr) {
        lora_down(*lora, x, m, k, own_hidden.as<float>());
        hidden = own_hidden.as<float>();
    }
    Scratch gradient(hidden_bytes);
    auto* grad_hidden = gradient.as<float>();  // scale * dy * B, [m, rank].
    const nibble_weight up = dense(lora->b, n, rank, NIBBLE_F32);
    for (int64_t r = 0; r < m; r += kCopyRows) {
        const int64_t rows = min_of(kCopyRows, m - r);
        with_rows(dy + r * n, rows, n, [&](auto a) {
            multiply(rows, rank, StoreTiles<float>{grad_hidden + r * rank, rank, lora->scale},
                     Term{a, n, PackStraight{up}});
        });
    }
    if (dx != nullptr) {
        backward_input<T>(weight, lora, grad_hidden, dy, m, dx);
    }
    Scratch turned(hidden_bytes);
    auto* left = turned.as<float>();
    transpose(grad_hidden, m, rank, 1.0F, left);
    multiply(rank, k, StoreTiles<float>{da, k}, Term{Rows<float>{left, m}, m, PackDropped<T>{x, k, *lora}});
    // dB is made transposed, [rank, n], because the engine packs its wide side.
    transpose(hidden, m, rank, lora->scale, left);
    Scratch wide(rank * n * static_cast<int64_t>(sizeof(float)));
    const nibble_weight outputs = dense(dy, m, n,
                                        static_cast<nibble_dtype>(std::is_same_v<T, float>      ? NIBBLE_F32
                                                                  : std::is_same_v<T, BFloat16> ? NIBBLE_BF16
                                                                                                : NIBBLE_F16));
    multiply(rank, n, StoreTiles<float>{wide.as<float>(), n}, Term{Rows<float>{left, m}, m, PackStraight{outputs}});
    transpose(wide.as<float>(), rank, n, 1.0F, db);
}

inline void linear_backward(const nibble_weight& weight, const nibble_lora* lora, nibble_dtype dtype, const void* x,
                            const float* lora_hidden, const void* dy, int64_t m, void* dx, float* da, float* db) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        linear_backward_of<T>(weight, lora, static_cast<const T*>(x), lora_hidden, static_cast<const T*>(dy), m,
                              static_cast<T*>(dx), da, db);
    });
}
