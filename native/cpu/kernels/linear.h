// y = x * W^T + b + scale * drop(x) * A^T * B^T + residual and its gradients. The adapter is `rank` more columns of the
// inner dimension: a second term on the same accumulators.

inline nibble_weight dense(const void* data, int64_t rows, int64_t cols, nibble_dtype dtype) {
    nibble_weight view{};
    view.rows = rows;
    view.cols = cols;
    view.format = dtype;  // nibble_dtype and the dense nibble_formats share their numbers.
    view.data = data;
    return view;
}

template <typename T>
constexpr nibble_dtype dtype_of() {
    return std::is_same_v<T, float> ? NIBBLE_F32 : std::is_same_v<T, BFloat16> ? NIBBLE_BF16 : NIBBLE_F16;
}

// Rows at a time, so that panels stay small.
inline constexpr int64_t kMostPanelRows = 2 * kRowChunk;

// Calls body(row_first, rows) for panels of nearly even heights.
template <typename Body>
void for_each_panel(int64_t m, Body&& body) {
    const int64_t panels = ceil_div(m, kMostPanelRows);
    for (int64_t p = 0; p < panels; ++p) {
        body(m * p / panels, m * (p + 1) / panels - m * p / panels);
    }
}

// Calls body(row) from as many threads as rows of `cols` elements keep busy.
template <typename Body>
void for_each_row(int64_t rows, int64_t cols, Body&& body) {
    const int workers = threads_for(rows * cols);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t r = 0; r < rows; ++r) {
        body(r);
    }
}

// A float32 matrix as elements that are multiplied, as precise as before: as BFloat16 it is the sum of two matrices,
// the rounded one and what rounding left out. The two lie side by side, or one below the other.
template <typename Element>
class Parts {
  public:
    static constexpr int64_t kCount = sizeof(float) / sizeof(Element);

    // [rows, cols] -> [kCount * rows, cols].
    static Parts stacked(const float* src, int64_t rows, int64_t cols) {
        Parts parts(kCount * rows, cols);
        parts.fill(src, rows, cols, /*beside=*/false);
        return parts;
    }

    // [rows, cols] -> [rows, kCount * cols].
    static Parts beside(const float* src, int64_t rows, int64_t cols) {
        Parts parts(rows, kCount * cols);
        parts.fill(src, rows, cols, /*beside=*/true);
        return parts;
    }

    nibble_weight view() { return dense(memory_.template as<Element>(), rows_, cols_, dtype_of<Element>()); }

  private:
    Parts(int64_t rows, int64_t cols)
        : rows_(rows), cols_(cols), memory_(rows * cols * static_cast<int64_t>(sizeof(Element))) {}

    // [rows, cols], each row followed by what rounding left out of it where `beside`, else all of them.
    void fill(const float* src, int64_t rows, int64_t cols, bool beside) {
        auto* all = memory_.template as<Element>();
        for_each_row(rows, cols, [&](int64_t r) {
            const float* row = src + r * cols;
            Element* dst = all + r * cols * (beside ? kCount : 1);
            Element* rest = dst + (beside ? cols : rows * cols);
            each_register(0, cols, [&](int64_t c, auto lanes) {
                const Vec value = load_as_float(row + c, lanes);
                store_from_float(dst + c, value, lanes);
                if constexpr (kCount > 1) {
                    store_from_float(rest + c, value - load_as_float(dst + c, lanes), lanes);
                }
            });
        });
    }

    int64_t rows_;
    int64_t cols_;
    Scratch memory_;
};

// dst[rows, cols] = factor * (src + its second part, which begins `step` elements behind the first).
template <typename Element>
void join(const float* src, int64_t rows, int64_t cols, int64_t stride, int64_t step, float factor, float* dst) {
    for_each_row(rows, cols, [&](int64_t r) {
        const float* row = src + r * stride;
        each_register(0, cols, [&](int64_t c, auto lanes) {
            Vec sum = load_as_float(row + c, lanes);
            if constexpr (Parts<Element>::kCount > 1) {
                sum += load_as_float(row + step + c, lanes);
            }
            store_from_float(dst + r * cols + c, sum * factor, lanes);
        });
    });
}

// Calls body with the term that a panel makes with the transposed of a weight.
template <typename Element, typename Body>
void with_transposed(const Panel<Element>& panel, const nibble_weight& weight, const Body& body) {
    if (weight.format == NIBBLE_WEIGHT_NF4_TURNED) {
        const TurnedWeight turned(weight);
        if (panel.rows() <= Nf4Term<Element>::kMostRows) {
            return body(Nf4Term<Element>{panel, turned});
        }
        return body(Term{panel, PackNf4Transposed<Element>{turned}});
    }
    body(Term{panel, PackTransposed{RunReader<Element>(weight)}});
}

// Calls body with the term that a panel makes with a weight as it lies.
template <typename Element, typename Body>
void with_straight(const Panel<Element>& panel, const nibble_weight& weight, const Body& body) {
    if (weight.format == NIBBLE_WEIGHT_NF4_TURNED) {
        const TurnedWeight turned(weight);
        const TurnedScales scales(turned);
#if defined(__AVX512BF16__)
        if constexpr (std::is_same_v<Element, BFloat16>) {
            if (panel.rows() <= Nf4StraightTerm::kMostRows) {
                return body(Nf4StraightTerm{panel, turned, scales});
            }
        }
#endif
        return body(Term{panel, PackNf4Straight<Element>{turned, scales}});
    }
    body(Term{panel, PackStraight{RunReader<Element>(weight)}});
}

// hidden[rows, rank] = drop(x) * A^T of one panel.
template <typename Element>
void lora_down(const nibble_lora& lora, const Panel<Element>& dropped, float* hidden) {
    auto a = Parts<Element>::stacked(lora.a, lora.rank, dropped.depth());
    const int64_t cols = a.view().rows;
    Scratch sums(dropped.rows() * cols * static_cast<int64_t>(sizeof(float)));
    multiply(dropped.rows(), cols, StoreTiles<float>{sums.as<float>(), cols},
             Term{dropped, PackTransposed{RunReader<Element>(a.view())}});
    join<Element>(sums.as<float>(), dropped.rows(), lora.rank, cols, lora.rank, dropout_scale(lora), hidden);
}

// A float32 matrix, times a factor.
class ScaledReader {
  public:
    ScaledReader(const float* data, int64_t rows, int64_t cols, float factor)
        : matrix_(dense(data, rows, cols, NIBBLE_F32)), factor_(factor) {}

    const nibble_weight& matrix() const { return matrix_; }

    void read(int64_t first, int64_t count, float* dst) const {
        const float* src = static_cast<const float*>(matrix_.data) + first;
        each_register(0, count, [&](int64_t i, auto lanes) {
            store_from_float(dst + i, load_as_float(src + i, lanes) * factor_, lanes);
        });
    }

  private:
    nibble_weight matrix_;
    float factor_;
};

inline float dot(const float* a, const float* b, int64_t count) {
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; ++i) {
        sum += a[i] * b[i];
    }
    return sum;
}

template <typename T>
void linear_few_rows(const nibble_weight& weight, const T* bias, const nibble_lora* lora, const float* hidden,
                     const T* x, const T* residual, int64_t m, T* y) {
    multiply_few_rows(weight, x, m, [&](int64_t n, const float* sums) {
        for (int64_t r = 0; r < m; ++r) {
            float sum = sums[r] + (bias != nullptr ? to_float(bias[n]) : 0.0F);
            if (lora != nullptr) {
                sum += lora->scale * dot(hidden + r * lora->rank, lora->b + n * lora->rank, lora->rank);
            }
            const int64_t place = r * weight.rows + n;
            y[place] = from_float<T>(residual != nullptr ? sum + to_float(residual[place]) : sum);
        }
    });
}

// One panel of x; y and residual begin at its first row.
template <typename T>
void multiply_panel(const nibble_weight& weight, const T* bias, const nibble_lora* lora, const float* hidden,
                    const Panel<Multiplied<T>>& a, const T* residual, T* y) {
    const int64_t n = weight.rows;
    const StoreTiles<T> finish{y, n, 1.0F, bias, residual};
    with_transposed(a, weight, [&](const auto& base) {
        if (lora == nullptr) {
            return multiply(a.rows(), n, finish, base);
        }
        const nibble_weight right = dense(lora->b, n, lora->rank, NIBBLE_F32);
        const Panel<float> adapter(ScaledReader(hidden, a.rows(), lora->rank, lora->scale), 0, a.rows());
        multiply(a.rows(), n, finish, base, Term{adapter, PackTransposed{RunReader<float>(right)}});
    });
}

template <typename T>
void linear_forward_of(const nibble_weight& weight, const T* bias, const nibble_lora* lora, const T* x,
                       const T* residual, int64_t m, T* y, float* lora_hidden) {
    using Element = Multiplied<T>;
    const int64_t rank = lora == nullptr ? 0 : lora->rank;
    Scratch own_hidden(lora_hidden == nullptr ? m * rank * static_cast<int64_t>(sizeof(float)) : 0);
    float* hidden = lora_hidden == nullptr ? own_hidden.as<float>() : lora_hidden;
    const nibble_weight inputs = dense(x, m, weight.cols, dtype_of<T>());
    const bool packs = y != nullptr && (m > kFewRows || weight.format == NIBBLE_WEIGHT_NF4_TURNED);
    const bool drops = lora != nullptr && lora->dropout > 0.0F;
    for_each_panel(m, [&](int64_t row_first, int64_t rows) {
        float* panel_hidden = hidden + row_first * rank;
        if (drops) {
            const Panel<Element> dropped(DroppedReader<Element>(inputs, *lora), row_first, rows);
            lora_down(*lora, dropped, panel_hidden);
        }
        if (!packs && (drops || lora == nullptr)) {
            return;
        }
        const Panel<Element> panel(RunReader<Element>(inputs), row_first, rows);
        if (lora != nullptr && !drops) {
            lora_down(*lora, panel, panel_hidden);
        }
        if (packs) {
            const int64_t first = row_first * weight.rows;
            const T* others = residual == nullptr ? nullptr : residual + first;
            multiply_panel(weight, bias, lora, panel_hidden, panel, others, y + first);
        }
    });
    if (y != nullptr && !packs) {
        linear_few_rows(weight, bias, lora, hidden, x, residual, m, y);
    }
}

inline void linear_forward(const nibble_weight& weight, const void* bias, const nibble_lora* lora, nibble_dtype dtype,
                           const void* x, const void* residual, int64_t m, void* y, float* lora_hidden) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        linear_forward_of<T>(weight, static_cast<const T*>(bias), lora, static_cast<const T*>(x),
                             static_cast<const T*>(residual), m, static_cast<T*>(y), lora_hidden);
    });
}

inline void transpose(const float* src, int64_t rows, int64_t cols, float* dst) {
    const int workers = threads_for(rows * cols / kLanes);
#pragma omp parallel for collapse(2) schedule(static) num_threads(workers)
    for (int64_t row = 0; row < rows; row += kLanes) {
        for (int64_t col = 0; col < cols; col += kLanes) {
            if (row + kLanes <= rows && col + kLanes <= cols) {
                transpose_square(src + row * cols + col, cols, dst + col * rows + row, rows);
                continue;
            }
            for (int64_t c = col; c < min_of(col + kLanes, cols); ++c) {
                for (int64_t r = row; r < min_of(row + kLanes, rows); ++r) {
                    dst[c * rows + r] = src[r * cols + c];
                }
            }
        }
    }
}

// Applies dropout to the sums of an adapter's term.
struct DropSums {
    const nibble_lora& lora;
    int64_t width;
    int64_t panel_first;

    void operator()(const Piece& piece) const {
        const float scale = dropout_scale(lora);
        for (int64_t r = 0; r < piece.rows; ++r) {
            const int64_t first = (panel_first + piece.row_first + r) * width + piece.col_first;
            for (int64_t run = 0; run < piece.cols; run += kDropRun) {
                uint16_t kept[kDropRun];
                kept_elements(lora, first + run, min_of(kDropRun, piece.cols - run), kept);
                for (int64_t tile = 0; tile < kDropRun && run + tile < piece.cols; tile += kTileCols) {
                    float* sums = piece.acc + (run + tile) * piece.rows + r * kTileCols;
                    const int64_t cols = min_of(kTileCols, piece.cols - run - tile);
                    for (int64_t c = 0; c < cols; ++c) {
                        sums[c] = kept[tile + c] != 0 ? sums[c] * scale : 0.0F;
                    }
                }
            }
        }
    }
};

// dx = dy * W + drop(scale * dy * B * A) + residual of one panel of dy, whose first row is row_first.
template <typename T, typename Element>
void backward_input(const nibble_weight& weight, const nibble_lora* lora, const float* grad_hidden,
                    const Panel<Element>& dy, int64_t row_first, const T* residual, T* dx) {
    const int64_t k = weight.cols;
    const StoreTiles<T> finish{dx, k, 1.0F, nullptr, residual};
    with_straight(dy, weight, [&](const auto& base) {
        if (lora == nullptr) {
            return multiply(dy.rows(), k, finish, base);
        }
        const nibble_weight left = dense(grad_hidden, dy.rows(), lora->rank, NIBBLE_F32);
        const nibble_weight right = dense(lora->a, lora->rank, k, NIBBLE_F32);
        const Panel<float> adapter(RunReader<float>(left), 0, dy.rows());
        const PackStraight down{RunReader<float>(right)};
        if (lora->dropout > 0.0F) {
            const DropSums drop{*lora, k, row_first};
            multiply(dy.rows(), k, finish, Term{adapter, down, drop}, base);  // It acts on the adapter's share alone.
        } else {
            multiply(dy.rows(), k, finish, base, Term{adapter, down});
        }
    });
}

// The gradient of an adapter's matrix, [rank, n]: the sum of left^T[m, rank] * right[m, n], left in float32.
template <typename Element>
class AdapterGradient {
  public:
    AdapterGradient(int64_t rank, int64_t n)
        : rank_(rank), n_(n), memory_(Parts<Element>::kCount * rank * n * static_cast<int64_t>(sizeof(float))) {}

    // Of m more rows, whose right side is packed.
    template <typename Pack>
    void add(const float* left, int64_t m, const Pack& right) {
        Scratch turned(m * rank_ * static_cast<int64_t>(sizeof(float)));
        transpose(left, m, rank_, turned.as<float>());
        auto parts = Parts<Element>::stacked(turned.as<float>(), rank_, m);
        const int64_t rows = parts.view().rows;
        const Panel<Element> panel(RunReader<Element>(parts.view()), 0, rows);
        auto* sums = memory_.template as<float>();
        multiply(rows, n_, StoreTiles<float>{sums, n_, 1.0F, nullptr, fresh_ ? nullptr : sums}, Term{panel, right});
        fresh_ = false;
    }

    // dst[rank, n] = factor * the sum.
    void write(float factor, float* dst) const {
        join<Element>(memory_.template as<float>(), rank_, n_, n_, rank_ * n_, factor, dst);
    }

  private:
    int64_t rank_;
    int64_t n_;
    Scratch memory_;  // The sums of each part.
    bool fresh_ = true;
};

template <typename T>
void linear_backward_of(const nibble_weight& weight, const nibble_lora* lora, const T* x, const float* lora_hidden,
                        const T* dy, const T* residual, int64_t m, T* dx, float* da, float* db) {
    using Element = Multiplied<T>;
    const int64_t k = weight.cols;
    const int64_t n = weight.rows;
    const int64_t rank = lora == nullptr ? 0 : lora->rank;
    const int64_t hidden_bytes = m * rank * static_cast<int64_t>(sizeof(float));
    const nibble_weight inputs = dense(x, m, k, dtype_of<T>());
    const nibble_weight gradients = dense(dy, m, n, dtype_of<T>());
    Scratch own_hidden(lora_hidden == nullptr ? hidden_bytes : 0);
    const float* hidden = lora_hidden;
    if (lora != nullptr && hidden == nullptr) {
        for_each_panel(m, [&](int64_t row_first, int64_t rows) {
            lora_down(*lora, Panel<Element>(DroppedReader<Element>(inputs, *lora), row_first, rows),
                      own_hidden.as<float>() + row_first * rank);
        });
        hidden = own_hidden.as<float>();
    }
    Scratch gradient(hidden_bytes);
    auto* grad_hidden = gradient.as<float>();       // scale * dy * B, [m, rank].
    AdapterGradient<Element> up_gradient(rank, n);  // Transposed, because the product packs its wide side.
    for_each_panel(m, [&](int64_t row_first, int64_t rows) {
        const Panel<Element> panel(RunReader<Element>(gradients), row_first, rows);
        float* panel_hidden = grad_hidden + row_first * rank;
        if (lora != nullptr) {
            auto up = Parts<Element>::beside(lora->b, n, rank);
            const int64_t cols = up.view().cols;
            Scratch sums(rows * cols * static_cast<int64_t>(sizeof(float)));
            multiply(rows, cols, StoreTiles<float>{sums.as<float>(), cols},
                     Term{panel, PackStraight{RunReader<Element>(up.view())}});
            join<Element>(sums.as<float>(), rows, rank, cols, rank, lora->scale, panel_hidden);
            up_gradient.add(hidden + row_first * rank, rows, PackPanel<Element>{panel});
        }
        if (dx != nullptr) {
            const T* others = residual == nullptr ? nullptr : residual + row_first * k;
            backward_input(weight, lora, panel_hidden, panel, row_first, others, dx + row_first * k);
        }
    });
    if (lora == nullptr) {
        return;
    }
    Scratch wide(rank * n * static_cast<int64_t>(sizeof(float)));
    up_gradient.write(lora->scale, wide.as<float>());
    transpose(wide.as<float>(), rank, n, db);
    AdapterGradient<Element> down_gradient(rank, k);
    if (lora->dropout > 0.0F) {
        down_gradient.add(grad_hidden, m, PackStraight{DroppedReader<Element>(inputs, *lora)});
        down_gradient.write(dropout_scale(*lora), da);
    } else {
        down_gradient.add(grad_hidden, m, PackStraight{RunReader<Element>(inputs)});
        down_gradient.write(1.0F, da);
    }
}

inline void linear_backward(const nibble_weight& weight, const nibble_lora* lora, nibble_dtype dtype, const void* x,
                            const float* lora_hidden, const void* dy, const void* residual, int64_t m, void* dx,
                            float* da, float* db) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        linear_backward_of<T>(weight, lora, static_cast<const T*>(x), lora_hidden, static_cast<const T*>(dy),
                              static_cast<const T*>(residual), m, static_cast<T*>(dx), da, db);
    });
}
