// Loss of a linear output head without its logits. Of a chunk of tokens every strip of logits becomes exponentials
// relative to the strip's own largest, rounded to the elements that are multiplied; once all strips have passed, each
// is scaled to probabilities, and the chunk's gradient is one more product with the head.

inline constexpr int64_t kIgnored = -100;

// Of a chunk of tokens: the more tokens, the fewer times the head is read, whose own memory they should be small
// beside.
inline int64_t most_probability_bytes(const nibble_weight& head) {
    const int64_t quarter = head.rows * head.cols / 2;  // Of a head in 16 bits.
    return min_of(int64_t{128} << 20, quarter < (32 << 20) ? 32 << 20 : quarter);
}

// Per token and strip: the largest logit, and the sum of exp(logit - largest).
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

// Turns a token's logits of a strip, in tiles of kTileCols that are `step` apart, into exp(logit - largest), which also
// go to dst where there is one.
template <typename Element>
Running exponentials(float* tiles, int64_t step, int64_t cols, Element* dst) {
    for (int64_t c = cols; c < kStripCols; ++c) {
        tiles[c / kTileCols * step + c % kTileCols] = -std::numeric_limits<float>::max();
    }
    Vec most = load(tiles);
    for (int64_t c = 0; c < kStripCols; c += kLanes) {
        const Vec logits = load(tiles + c / kTileCols * step + c % kTileCols);
        most = logits > most ? logits : most;
    }
    const float largest = largest_lane(most);
    Vec sum = {};
    for (int64_t c = 0; c < kStripCols; c += kLanes) {
        const Vec value = fast_exp(load(tiles + c / kTileCols * step + c % kTileCols) - largest);
        sum += value;
        if (dst != nullptr) {
            store_from_float(dst + c, value);
        }
    }
    return {largest, sum_lanes(sum)};
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

// Scales the exponentials of one token to probabilities, minus one at its label.
template <typename Element>
void scale_to_gradient(const Panel<Element>& exponents, int64_t row, const Running* strips, int64_t stride,
                       float log_sum_exp, int64_t label) {
    for (int64_t c = 0; c < exponents.depth(); c += kStripCols) {
        const float largest = strips[c / kStripCols * stride].largest;
        const float factor = label == kIgnored ? 0.0F : fast_exp(largest - log_sum_exp);
        Element* values = exponents.at(row, c);
        for (int64_t i = 0; i < kStripCols; i += kLanes) {
            store_from_float(values + i, load_as_float(values + i) * factor);
        }
        if (label >= c && label < c + kStripCols) {
            Element& value = values[label - c];
            value = from_float<Element>(to_float(value) - 1.0F);
        }
    }
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
            const float lse = total.largest + std::log(total.sum);
            log_sum_exp[first + row] = lse;
            loss[first + row] = label == kIgnored ? 0.0F : lse - target[row];
            if (unit_dhidden != nullptr) {
                scale_to_gradient(exponents, row, running + row, rows, lse, label);
            }
        }
        if (unit_dhidden != nullptr) {
            with_straight(exponents, head, [&](const auto& gradient) {
                multiply(rows, k, StoreTiles<T>{unit_dhidden + first * k, k}, gradient);
            });
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

// Reads a panel as the matrix that it was packed from.
template <typename E>
class PanelReader {
  public:
    using Element = E;

    explicit PanelReader(const Panel<Element>& panel)
        : panel_(panel), matrix_(dense(nullptr, panel.rows(), panel.depth(), dtype_of<Element>())) {}

    const nibble_weight& matrix() const { return matrix_; }

    void prefetch(int64_t, int64_t) const {}

    void read(int64_t first, int64_t count, Element* dst) const {
        const Element* src = panel_.at(first / matrix_.cols, first % matrix_.cols);
        std::memcpy(dst, src, sizeof(Element) * static_cast<size_t>(count));
    }

  private:
    const Panel<Element>& panel_;
    nibble_weight matrix_;
};

// Adds the transposed of tiles to a float32 matrix; each element belongs to one tile, so threads do not meet.
struct AddTurned {
    float* dst;
    int64_t stride;

    void operator()(const Piece& piece) const {
        piece.for_each_tile([&](int64_t col_first, int64_t cols, const float* acc) {
            for (int64_t c = 0; c < cols; ++c) {
                float* row = dst + (col_first + c) * stride + piece.row_first;
                for (int64_t r = 0; r < piece.rows; ++r) {
                    row[r] += acc[r * kTileCols + c];
                }
            }
        });
    }
};

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
            Scratch copy(2 * rows * k * static_cast<int64_t>(sizeof(float)));
            float* straight = copy.as<float>();
            float* turned = straight + rows * k;
            convert_to_float(hidden + first * k, rows * k, straight);
            transpose(straight, rows, k, turned);
            const Panel<Element> left(RunReader<Element>(dense(turned, k, rows, NIBBLE_F32)), 0, k);
            multiply(k, head.rows, AddTurned{dhead, k}, Term{left, PackStraight{PanelReader<Element>(gradient)}});
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
