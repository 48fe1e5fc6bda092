// y = x * W^T + b + scale * drop(x) * A^T * B^T + residual and its gradients. The adapter is `rank` more columns of the
// inner dimension: a second term on the same accumulators.

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

// A matrix from one of its rows on, where there is one.
template <typename T>
T* from_row(T* matrix, int64_t row, int64_t width) {
    return matrix == nullptr ? nullptr : matrix + row * width;
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
    const PartedRows<Element> a(lora.a, lora.rank, dropped.depth());
    multiply(dropped.rows(), a.matrix().rows, StoreJoined<Element>{hidden, lora.rank, dropout_scale(lora)},
             Term{dropped, PackTransposed{a}});
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
            const int64_t n = weight.rows;
            multiply_panel(weight, bias, lora, panel_hidden, panel, from_row(residual, row_first, n),
                           from_row(y, row_first, n));
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

// dx = dy * W + drop(scale * dy * B * A) + residual of one panel of dy, whose first row is row_first, and meanwhile the
// gradients of B and A.
template <typename T, typename Element>
void backward_adapted(const nibble_weight& weight, const nibble_lora& lora, const float* grad_hidden,
                      const Panel<Element>& dy, int64_t row_first, const T* residual, T* dx, Work& db, Work& da) {
    const int64_t m = dy.rows();
    const int64_t k = weight.cols;
    const StoreTiles<T> finish{dx, k, 1.0F, nullptr, residual};
    const Panel<float> adapter(RunReader<float>(dense(grad_hidden, m, lora.rank, NIBBLE_F32)), 0, m);
    const PackStraight down{RunReader<float>(dense(lora.a, lora.rank, k, NIBBLE_F32))};
    with_straight(dy, weight, [&](const auto& base) {
        if (lora.dropout > 0.0F) {  // It acts on the adapter's share alone.
            Product product(m, k, finish, Term{adapter, down, DropSums{lora, k, row_first}}, base);
            run({&product, &db, &da});
        } else {
            Product product(m, k, finish, base, Term{adapter, down});
            run({&product, &db, &da});
        }
    });
}

// Calls body with a reader of the input of an adapter, where some elements may be dropped.
template <typename Element, typename Body>
void with_adapter_input(const nibble_lora& lora, const nibble_weight& inputs, const Body& body) {
    if (lora.dropout > 0.0F) {
        body(DroppedReader<Element>(inputs, lora));
    } else {
        body(RunReader<Element>(inputs));
    }
}

template <typename T>
void linear_backward_of(const nibble_weight& weight, const nibble_lora* lora, const T* x, const float* lora_hidden,
                        const T* dy, const T* residual, int64_t m, T* dx, float* da, float* db) {
    using Element = Multiplied<T>;
    const int64_t k = weight.cols;
    const int64_t n = weight.rows;
    const nibble_weight inputs = dense(x, m, k, dtype_of<T>());
    const nibble_weight gradients = dense(dy, m, n, dtype_of<T>());
    if (lora == nullptr) {
        for_each_panel(m, [&](int64_t row_first, int64_t rows) {
            const Panel<Element> panel(RunReader<Element>(gradients), row_first, rows);
            const StoreTiles<T> finish{from_row(dx, row_first, k), k, 1.0F, nullptr, from_row(residual, row_first, k)};
            with_straight(panel, weight, [&](const auto& base) { multiply(rows, k, finish, base); });
        });
        return;
    }
    const int64_t rank = lora->rank;
    const PartedColumns<Element> b(lora->b, n, rank);
    const int64_t panel_bytes = min_of(m, kMostPanelRows) * rank * static_cast<int64_t>(sizeof(float));
    Scratch own_hidden(lora_hidden == nullptr ? panel_bytes : 0);
    Scratch gradient(panel_bytes);
    auto* grad_hidden = gradient.as<float>();  // scale * dy * B of a panel.
    for_each_panel(m, [&](int64_t row_first, int64_t rows) {
        with_adapter_input<Element>(*lora, inputs, [&](const auto& input) {
            const float* hidden = from_row(lora_hidden, row_first, rank);
            if (hidden == nullptr) {
                lora_down(*lora, Panel<Element>(input, row_first, rows), own_hidden.as<float>());
                hidden = own_hidden.as<float>();
            }
            const Panel<Element> panel(RunReader<Element>(gradients), row_first, rows);
            multiply(rows, b.matrix().cols, StoreJoined<Element>{grad_hidden, rank, lora->scale},
                     Term{panel, PackStraight{b}});
            // Products pack their right side, so that it should be the wide one.
            const auto left_of_db = transposed_panel<Element>(hidden, rows, rank);
            const auto left_of_da = transposed_panel<Element>(grad_hidden, rows, rank);
            const bool adds = row_first > 0;
            Product up(rank, n, StoreTurned{db, rank, lora->scale, adds}, Term{left_of_db, PackPanel<Element>{panel}});
            Product down(rank, k, StoreTiles<float>{da, k, dropout_scale(*lora), nullptr, adds ? da : nullptr},
                         Term{left_of_da, PackStraight{input, row_first}});
            if (dx == nullptr) {
                return run({&up, &down});
            }
            backward_adapted(weight, *lora, grad_hidden, panel, row_first, from_row(residual, row_first, k),
                             from_row(dx, row_first, k), up, down);
        });
    });
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
