// Loss of a linear output head without its logits. Forward keeps a running maximum and sum of exponentials per token
// while tiles of logits pass by. Backward makes the logits of a slice of the vocabulary again, turns them into
// probabilities in place, and multiplies that slice into both gradients before the next.

inline constexpr int64_t kIgnored = -100;
inline constexpr int64_t kTokenChunk = kRowChunk;
inline constexpr int64_t kVocabSlice = 1024;

// Per token: the largest logit so far, and the sum of exp(logit - largest).
struct Running {
    float largest;
    float sum;
};

inline void merge(Running& into, Running other) {
    if (other.largest > into.largest) {
        into.sum = into.sum * fast_exp(into.largest - other.largest) + other.sum;
        into.largest = other.largest;
    } else if (other.sum != 0.0F) {  // True of NaN, which must reach the loss.
        into.sum += other.sum * fast_exp(other.largest - into.largest);
    }
}

inline Running summarize(const float* logits, int64_t count) {
    float largest = logits[0];
    for (int64_t i = 1; i < count; ++i) {
        largest = logits[i] > largest ? logits[i] : largest;
    }
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; ++i) {
        sum += fast_exp(logits[i] - largest);
    }
    return {largest, sum};
}

template <typename T>
void cross_entropy_forward_of(const nibble_weight& head, const T* hidden, const int64_t* labels, int64_t tokens,
                              float* loss, float* log_sum_exp) {
    const int64_t k = head.cols;
    const int workers = threads();
    Scratch scratch(workers * kTokenChunk * static_cast<int64_t>(sizeof(Running)));
    Scratch targets(kTokenChunk * static_cast<int64_t>(sizeof(float)));
    auto* running = scratch.as<Running>();
    auto* target = targets.as<float>();
    for (int64_t t = 0; t < tokens; t += kTokenChunk) {
        const int64_t rows = min_of(kTokenChunk, tokens - t);
        for (int64_t i = 0; i < workers * kTokenChunk; ++i) {
            running[i] = {-std::numeric_limits<float>::max(), 0.0F};
        }
        const auto finish = [&](int thread, int64_t row_first, int64_t tile_rows, int64_t col_first, int64_t cols,
                                const float* acc) {
            for (int64_t r = 0; r < tile_rows; ++r) {
                const int64_t row = row_first + r;
                merge(running[thread * kTokenChunk + row], summarize(acc + r * kTileCols, cols));
                const int64_t label = labels[t + row] - col_first;
                if (label >= 0 && label < cols) {
                    target[row] = acc[r * kTileCols + label];
                }
            }
        };
        with_rows(hidden + t * k, rows, k, [&](auto a) {
            multiply(rows, head.rows, finish, Term{a, k, PackTransposed{head}});
        });
        for (int64_t row = 0; row < rows; ++row) {
            Running total = running[row];
            for (int worker = 1; worker < workers; ++worker) {
                merge(total, running[worker * kTokenChunk + row]);
            }
            const float lse = total.largest + std::log(total.sum);
            log_sum_exp[t + row] = lse;
            loss[t + row] = labels[t + row] == kIgnored ? 0.0F : lse - target[row];
        }
    }
}

inline void cross_entropy_forward(const nibble_weight& head, nibble_dtype dtype, const void* hidden,
                                  const int64_t* labels, int64_t tokens, float* loss, float* log_sum_exp) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        cross_entropy_forward_of(head, static_cast<const T*>(hidden), labels, tokens, loss, log_sum_exp);
    });
}

// The gradient of one slice of logits, [rows, slice] and transposed [slice, rows].
struct LogitGradient {
    const int64_t* labels;
    const float* log_sum_exp;
    const float* loss_grad;
    int64_t vocab_first;
    int64_t rows;
    int64_t slice;
    float* straight;
    float* turned;  // May be null.

    void operator()(int, int64_t row_first, int64_t tile_rows, int64_t col_first, int64_t cols,
                    const float* acc) const {
        for (int64_t r = 0; r < tile_rows; ++r) {
            const int64_t row = row_first + r;
            const float factor = labels[row] == kIgnored ? 0.0F : loss_grad[row];
            float* out = straight + row * slice + col_first;
            for (int64_t c = 0; c < cols; ++c) {
                out[c] = factor * fast_exp(acc[r * kTileCols + c] - log_sum_exp[row]);
            }
            const int64_t label = labels[row] - vocab_first - col_first;
            if (label >= 0 && label < cols) {
                out[label] -= factor;
            }
            for (int64_t c = 0; turned != nullptr && c < cols; ++c) {
                turned[(col_first + c) * rows + row] = out[c];
            }
        }
    }
};

// Adds tiles to a float32 matrix; each element belongs to one tile, so threads do not meet.
struct AddTiles {
    float* dst;
    int64_t stride;

    void operator()(int, int64_t row_first, int64_t rows, int64_t col_first, int64_t cols, const float* acc) const {
        for (int64_t r = 0; r < rows; ++r) {
            for (int64_t c = 0; c < cols; ++c) {
                dst[(row_first + r) * stride + col_first + c] += acc[r * kTileCols + c];
            }
        }
    }
};

// Rows [first, first + rows) of a weight of which only whole rows are wanted.
struct PackSlice {
    const nibble_weight& weight;
    int64_t first;

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, float* tile) const {
        PackStraight{weight}(first + depth_first, depth, col_first, cols, tile);
    }
};

struct PackSliceTransposed {
    const nibble_weight& weight;
    int64_t first;

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, float* tile) const {
        PackTransposed{weight}(depth_first, depth, first + col_first, cols, tile);
    }
};

template <typename T>
void cross_entropy_backward_of(const nibble_weight& head, nibble_dtype dtype, const T* hidden, const int64_t* labels,
                               int64_t tokens, const float* log_sum_exp, const float* loss_grad, T* dhidden,
                               float* dhead) {
    const int64_t k = head.cols;
    const int64_t most_rows = min_of(kTokenChunk, tokens);
    const int64_t most_slice = min_of(kVocabSlice, head.rows);
    Scratch probabilities(most_rows * most_slice * static_cast<int64_t>(sizeof(float)));
    Scratch turned(dhead == nullptr ? 0 : most_rows * most_slice * static_cast<int64_t>(sizeof(float)));
    Scratch sums(most_rows * k * static_cast<int64_t>(sizeof(float)));
    auto* gradient = sums.as<float>();
    for (int64_t t = 0; t < tokens; t += kTokenChunk) {
        const int64_t rows = min_of(kTokenChunk, tokens - t);
        const nibble_weight inputs = dense(hidden + t * k, rows, k, dtype);
        std::memset(gradient, 0, sizeof(float) * static_cast<size_t>(rows * k));
        for (int64_t v = 0; v < head.rows; v += kVocabSlice) {
            const int64_t slice = min_of(kVocabSlice, head.rows - v);
            auto* straight = probabilities.as<float>();
            auto* across = dhead == nullptr ? nullptr : turned.as<float>();
            const LogitGradient finish{labels + t, log_sum_exp + t, loss_grad + t, v, rows, slice, straight, across};
            with_rows(hidden + t * k, rows, k, [&](auto a) {
                multiply(rows, slice, finish, Term{a, k, PackSliceTransposed{head, v}});
            });
            multiply(rows, k, AddTiles{gradient, k}, Term{Rows<float>{straight, slice}, slice, PackSlice{head, v}});
            if (dhead != nullptr) {
                multiply(slice, k, AddTiles{dhead + v * k, k},
                         Term{Rows<float>{across, rows}, rows, PackStraight{inputs}});
            }
        }
        convert_from_float(gradient, rows * k, dhidden + t * k);
    }
}

inline void cross_entropy_backward(const nibble_weight& head, nibble_dtype dtype, const void* hidden,
                                   const int64_t* labels, int64_t tokens, const float* log_sum_exp,
                                   const float* loss_grad, void* dhidden, float* dhead) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        cross_entropy_backward_of(head, dtype, static_cast<const T*>(hidden), labels, tokens, log_sum_exp, loss_grad,
                                  static_cast<T*>(dhidden), dhead);
    });
}
