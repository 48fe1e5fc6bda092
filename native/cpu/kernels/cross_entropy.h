// Loss of a linear output head without its logits. Of a chunk of tokens every strip of logits becomes exponentials,
// rounded to the elements that are multiplied, and the chunk's gradient is one more product with the head. Float32 and
// bfloat16 have room for the exponentials of most logits as they are, and sums of them need only be known when the
// product is there. Those of a strip for which they have none are relative to the strip's largest logit, and its
// token's are made probabilities before the product.

inline constexpr int64_t kIgnored = -100;

// Of a chunk of tokens: the more tokens, the fewer times the head is read, whose own memory they should be small
// beside.
inline int64_t most_probability_bytes(const nibble_weight& head) {
    const int64_t quarter = head.rows * head.cols / 2;  // Of a head in 16 bits.
    return min_of(int64_t{128} << 20, quarter < (32 << 20) ? 32 << 20 : quarter);
}

// Per token and strip: the sum of exp(logit - reference).
struct Running {
    float reference;
    float sum;
};

// Sums of exponentials as they are, whose products with weights are in range as well.
inline constexpr float kLeastSum = 1e-26F;
inline constexpr float kMostSum = 1e30F;

inline void merge(Running& into, Running other) {
    if (other.reference > into.reference) {
        into.sum = into.sum * fast_exp(into.reference - other.reference) + other.sum;
        into.reference = other.reference;
    } else if (other.sum != 0.0F) {  // True of NaN, which must reach the loss.
        into.sum += other.sum * fast_exp(other.reference - into.reference);
    }
}

inline float largest_lane(Vec value) {
#if defined(__AVX512F__)
    return _mm512_reduce_max_ps(value);
#else
    float largest = value[0];
    for (int lane = 1; lane < kLanes; ++lane) {
        largest = value[lane] > largest ? value[lane] : largest;
    }
    return largest;
#endif
}

// Turns a token's logits of a strip, in tiles of kTileCols that are `step` apart, into exp(logit - reference), which
// also go to dst where there is one.
template <typename Element>
Running exponentials(float* tiles, int64_t step, int64_t cols, Element* dst) {
    for (int64_t c = cols; c < kStripCols; ++c) {
        tiles[c / kTileCols * step + c % kTileCols] = -std::numeric_limits<float>::max();
    }
    const auto at = [&](int64_t c) { return load(tiles + c / kTileCols * step + c % kTileCols); };
    const auto relative_to = [&](float reference) {
        Vec sum = {};
        for (int64_t c = 0; c < kStripCols; c += kLanes) {
            const Vec value = fast_exp(at(c) - reference);
            sum += value;
            if (dst != nullptr) {
                store_from_float(dst + c, value);
            }
        }
        return Running{reference, sum_lanes(sum)};
    };
    const Running plain = relative_to(0.0F);
    if (plain.sum > kLeastSum && plain.sum < kMostSum) {
        return plain;
    }
    Vec most = at(0);
    for (int64_t c = kLanes; c < kStripCols; c += kLanes) {
        const Vec logits = at(c);
        most = logits > most ? logits : most;
    }
    return relative_to(largest_lane(most));
}

// Calls body(first, count) for chunks of tokens whose probabilities fit.
template <typename Element, typename Body>
void for_each_chunk(int64_t tokens, const nibble_weight& head, Body&& body) {
    const int64_t fitting = most_probability_bytes(head) / (head.rows * static_cast<int64_t>(sizeof(Element)));
    const int64_t most = fitting < kTileRows ? kTileRows : min_of(fitting, kMostPanelRows);
    const int64_t chunks = ceil_div(tokens, most);
    for (int64_t c = 0; c < chunks; ++c) {
        body(tokens * c / chunks, tokens * (c + 1) / chunks - tokens * c / chunks);
    }
}

// Makes one token's exponentials its gradient by the logits, times a number of which it returns the inverse.
template <typename Element>
float to_gradient(const Panel<Element>& exponents, int64_t row, const Running* strips, int64_t stride, Running total,
                  float log_sum_exp, int64_t label) {
    if (label == kIgnored) {
        return 0.0F;
    }
    bool plain = true;
    for (int64_t c = 0; c < exponents.depth(); c += kStripCols) {
        plain = plain && strips[c / kStripCols * stride].reference == 0.0F;
    }
    for (int64_t c = 0; !plain && c < exponents.depth(); c += kStripCols) {
        const float factor = fast_exp(strips[c / kStripCols * stride].reference - log_sum_exp);
        Element* values = exponents.at(row, c);
        for (int64_t i = 0; i < kStripCols; i += kLanes) {
            store_from_float(values + i, load_as_float(values + i) * factor);
        }
    }
    const float one = plain ? total.sum : 1.0F;  // What a probability of one is here.
    Element& learned = exponents.at(row, label / kStripCols * kStripCols)[label % kStripCols];
    learned = from_float<Element>(to_float(learned) - one);
    return 1.0F / one;
}

template <typename T>
void cross_entropy_forward_of(const nibble_weight& head, const T* hidden, const int64_t* labels, int64_t tokens,
                              float* loss, float* log_sum_exp, T* unit_dhidden) {
    using Element = Multiplied<T>;
    const int64_t k = head.cols;
    const int64_t strips = ceil_div(head.rows, kStripCols);
    const nibble_weight inputs = dense(hidden, tokens, k, dtype_of<T>());
    for_each_chunk<Element>(tokens, head, [&](int64_t first, int64_t rows) {
        const Panel<Element> panel(RunReader<Element>(inputs), first, rows);
        const Panel<Element> exponents(unit_dhidden == nullptr ? 0 : rows, head.rows);
        Scratch summaries(strips * rows * static_cast<int64_t>(sizeof(Running)));
        Scratch targets(rows * static_cast<int64_t>(sizeof(float)));
        auto* running = summaries.as<Running>();  // [strips][rows]
        auto* target = targets.as<float>();
        Scratch row_factors(rows * static_cast<int64_t>(sizeof(float)));
        auto* factors = row_factors.as<float>();
        const auto finish = [&](const Piece& piece) {
            for (int64_t c = 0; c < piece.cols; c += kStripCols) {
                const int64_t cols = min_of(kStripCols, piece.cols - c);
                const int64_t col_first = piece.col_first + c;
                const int64_t step = piece.rows * kTileCols;
                for (int64_t r = 0; r < piece.rows; ++r) {
                    const int64_t row = piece.row_first + r;
                    float* logits = piece.acc + c * piece.rows + r * kTileCols;
                    const int64_t label = labels[first + row] - col_first;
                    if (label >= 0 && label < cols) {
                        target[row] = logits[label / kTileCols * step + label % kTileCols];
                    }
                    Element* dst = unit_dhidden == nullptr ? nullptr : exponents.at(row, col_first);
                    running[col_first / kStripCols * rows + row] = exponentials(logits, step, cols, dst);
                }
            }
        };
        with_transposed(panel, head, [&](const auto& logits) { multiply(rows, head.rows, finish, logits); });
        const int workers = threads_for(rows * strips);
#pragma omp parallel for schedule(static) num_threads(workers)
        for (int64_t row = 0; row < rows; ++row) {
            const int64_t label = labels[first + row];
            Running total = running[row];
            for (int64_t strip = 1; strip < strips; ++strip) {
                merge(total, running[strip * rows + row]);
            }
            const float lse = total.reference + std::log(total.sum);
            log_sum_exp[first + row] = lse;
            loss[first + row] = label == kIgnored ? 0.0F : lse - target[row];
            if (unit_dhidden != nullptr) {
                factors[row] = to_gradient(exponents, row, running + row, rows, total, lse, label);
            }
        }
        if (unit_dhidden != nullptr) {
            const StoreTiles<T> store{unit_dhidden + first * k, k};
            const auto store_scaled = [&](const Piece& piece) {
                piece.for_each_tile([&](int64_t, int64_t, float* acc) {
                    for (int64_t r = 0; r < piece.rows; ++r) {
                        for (int64_t c = 0; c < kTileCols; ++c) {
                            acc[r * kTileCols + c] *= factors[piece.row_first + r];
                        }
                    }
                });
                store(piece);
            };
            with_straight(exponents, head, [&](const auto& term) { multiply(rows, k, store_scaled, term); });
        }
    });
}

inline void cross_entropy_forward(const nibble_weight& head, nibble_dtype dtype, const void* hidden,
                                  const int64_t* labels, int64_t tokens, float* loss, float* log_sum_exp,
                                  void* unit_dhidden) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        cross_entropy_forward_of(head, static_cast<const T*>(hidden), labels, tokens, loss, log_sum_exp,
                                 static_cast<T*>(unit_dhidden));
    });
}

// Element: float where the head learns, so that its gradient is as precise as the sums.
template <typename Element, typename T>
void cross_entropy_backward_of(const nibble_weight& head, const T* hidden, const int64_t* labels, int64_t tokens,
                               const float* log_sum_exp, const float* loss_grad, T* dhidden, float* dhead) {
    const int64_t k = head.cols;
    const nibble_weight inputs = dense(hidden, tokens, k, dtype_of<T>());
    for_each_chunk<Element>(tokens, head, [&](int64_t first, int64_t rows) {
        const Panel<Element> panel(RunReader<Element>(inputs), first, rows);
        const Panel<Element> gradient(rows, head.rows);
        const auto finish = [&](const Piece& piece) {
            piece.for_each_tile([&](int64_t col_first, int64_t cols, float* acc) {
                for (int64_t r = 0; r < piece.rows; ++r) {
                    const int64_t row = piece.row_first + r;
                    const float factor = labels[first + row] == kIgnored ? 0.0F : loss_grad[first + row];
                    const float lse = log_sum_exp[first + row];
                    float* logits = acc + r * kTileCols;
                    for (int64_t c = 0; c < cols; ++c) {
                        logits[c] = factor * fast_exp(logits[c] - lse);
                    }
                    const int64_t label = labels[first + row] - col_first;
                    if (label >= 0 && label < cols) {
                        logits[label] -= factor;
                    }
                    convert_from_float(logits, cols, gradient.at(row, col_first));
                }
            });
        };
        with_transposed(panel, head, [&](const auto& logits) { multiply(rows, head.rows, finish, logits); });
        with_straight(gradient, head, [&](const auto& term) {
            multiply(rows, k, StoreTiles<T>{dhidden + first * k, k}, term);
        });
        if (dhead != nullptr) {
            // Transposed, [K, vocab], since the wide side need not be packed whole.
            Scratch copy(rows * k * static_cast<int64_t>(sizeof(float)));
            convert_to_float(hidden + first * k, rows * k, copy.as<float>());
            const auto left = transposed_panel<Element>(copy.as<float>(), rows, k);
            multiply(k, head.rows, StoreTurned{dhead, k, 1.0F, true}, Term{left, PackPanel<Element>{gradient}});
        }
    });
}

inline void cross_entropy_backward(const nibble_weight& head, nibble_dtype dtype, const void* hidden,
                                   const int64_t* labels, int64_t tokens, const float* log_sum_exp,
                                   const float* loss_grad, void* dhidden, float* dhead) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        const auto run = [&](auto element) {
            cross_entropy_backward_of<decltype(element)>(head, static_cast<const T*>(hidden), labels, tokens,
                                                         log_sum_exp, loss_grad, static_cast<T*>(dhidden), dhead);
        };
        if (dhead != nullptr) {
            run(float{});
        } else {
            run(Multiplied<T>{});
        }
    });
}
