// A float32 matrix as elements that are multiplied, as precise as before: as BFloat16 it is the sum of kParts matrices,
// the rounded one and what rounding left out.

template <typename Element>
inline constexpr int kParts = sizeof(float) / sizeof(Element);

// dst[part * step + lane] for each part.
template <typename Element>
void store_parts(Element* dst, int64_t step, Vec value) {
    store_from_float(dst, value);
    if constexpr (kParts<Element> != 1) {
        store_from_float(dst + step, value - load_as_float(dst));
    }
}

// Columns (or rows) that so many become on a right side: kLanes of one part, then the same of the next, so that all
// parts of a column are in one tile.
template <typename Element>
int64_t parted(int64_t count) {
    return kParts<Element> == 1 ? count : ceil_div(count, kLanes) * kLanes * kParts<Element>;
}

// Reads [rows, cols] as [rows, parted(cols)], from multiples of kRun on.
template <typename E>
class PartedColumns {
  public:
    using Element = E;

    PartedColumns(const float* data, int64_t rows, int64_t cols)
        : floats_(dense(data, rows, cols, NIBBLE_F32)),
          matrix_(dense(nullptr, rows, parted<Element>(cols), dtype_of<Element>())) {}

    const nibble_weight& matrix() const { return matrix_; }

    void prefetch(int64_t first, int64_t count) const { floats_.prefetch(own(first), count / kParts<Element>); }

    void read(int64_t first, int64_t, Element* dst) const {
        constexpr int64_t kCount = kRun / kParts<Element>;
        const int64_t cols = floats_.matrix().cols;
        const int64_t at = own(first);
        alignas(64) float values[kRun];
        floats_.read(at, min_of(kCount, cols - at % cols), values);
        for (int64_t c = 0; c < kCount; c += kLanes) {
            store_parts(dst + c * kParts<Element>, kLanes, load(values + c));
        }
    }

  private:
    int64_t own(int64_t parted_first) const {
        return parted_first / matrix_.cols * floats_.matrix().cols + parted_first % matrix_.cols / kParts<Element>;
    }

    RunReader<float> floats_;
    nibble_weight matrix_;
};

// Reads [rows, cols] as [parted(rows), cols].
template <typename E>
class PartedRows {
  public:
    using Element = E;

    PartedRows(const float* data, int64_t rows, int64_t cols)
        : floats_(dense(data, rows, cols, NIBBLE_F32)),
          matrix_(dense(nullptr, parted<Element>(rows), cols, dtype_of<Element>())) {}

    const nibble_weight& matrix() const { return matrix_; }

    void prefetch(int64_t first, int64_t count) const {
        const Place place = place_of(first);
        if (place.part == 0 && place.row < floats_.matrix().rows) {
            floats_.prefetch(place.row * matrix_.cols + first % matrix_.cols, count);
        }
    }

    void read(int64_t first, int64_t count, Element* dst) const {
        const Place place = place_of(first);
        alignas(64) float values[kRun] = {};
        if (place.row < floats_.matrix().rows) {
            floats_.read(place.row * matrix_.cols + first % matrix_.cols, count, values);
        }
        for (int64_t c = 0; c < kRun; c += kLanes) {
            alignas(64) Element parts[kParts<Element>][kLanes];
            store_parts(parts[0], kLanes, load(values + c));
            std::memcpy(static_cast<void*>(dst + c), parts[place.part], sizeof(parts[0]));
        }
    }

  private:
    struct Place {
        int64_t row;
        int64_t part;
    };

    Place place_of(int64_t first) const {
        const int64_t row = first / matrix_.cols;
        const int64_t lanes = row / kLanes;
        return {lanes / kParts<Element> * kLanes + row % kLanes, lanes % kParts<Element>};
    }

    RunReader<float> floats_;
    nibble_weight matrix_;
};

// dst[rows, cols] = factor * the sums of a product whose right side had `parted(cols)` columns.
template <typename Element>
struct StoreJoined {
    float* dst;
    int64_t cols;
    float factor;

    void operator()(const Piece& piece) const {
        piece.for_each_tile([&](int64_t col_first, int64_t, const float* acc) {
            const int64_t first = col_first / kParts<Element>;
            const int64_t count = min_of(kTileCols / kParts<Element>, cols - first);
            for (int64_t r = 0; r < piece.rows; ++r) {
                const float* sums = acc + r * kTileCols;
                float* row = dst + (piece.row_first + r) * cols + first;
                each_register(0, count, [&](int64_t c, auto lanes) {
                    Vec sum = load(sums + c);
                    if constexpr (kParts<Element> != 1) {
                        sum += load(sums + kLanes + c);
                    }
                    store_from_float(row + c, sum * factor, lanes);
                });
            }
        });
    }
};

// The transposed of [rows, cols] as the left side of a product.
template <typename Element>
Panel<Element, kParts<Element>> transposed_panel(const float* src, int64_t rows, int64_t cols) {
    Panel<Element, kParts<Element>> panel(cols, rows);
    const int workers = threads_for(rows * cols / kLanes);
#pragma omp parallel for collapse(2) schedule(static) num_threads(workers)
    for (int64_t row = 0; row < rows; row += kLanes) {
        for (int64_t col = 0; col < cols; col += kLanes) {
            alignas(64) float turned[kLanes * kLanes];
            const int64_t count = min_of(kLanes, cols - col);
            transpose_part(src + row * cols + col, cols, min_of(kLanes, rows - row), count, turned);
            for (int64_t c = 0; c < count; ++c) {
                store_parts(panel.at(col + c, row), panel.stride(), load(turned + c * kLanes));
            }
        }
    }
    return panel;
}

// Writes the transposed of the sums times a factor to a float32 matrix, or adds it to one.
struct StoreTurned {
    float* dst;
    int64_t stride;
    float factor;
    bool adds;

    void operator()(const Piece& piece) const {
        piece.for_each_tile([&](int64_t col_first, int64_t cols, const float* acc) {
            for (int64_t r = 0; r < piece.rows; r += kLanes) {
                const int64_t rows = min_of(kLanes, piece.rows - r);
                for (int64_t c = 0; c < cols; c += kLanes) {
                    const int64_t count = min_of(kLanes, cols - c);
                    alignas(64) float turned[kLanes * kLanes];
                    transpose_part(acc + r * kTileCols + c, kTileCols, rows, count, turned);
                    for (int64_t i = 0; i < count; ++i) {
                        float* row = dst + (col_first + c + i) * stride + piece.row_first + r;
                        each_register(0, rows, [&](int64_t lane, auto lanes) {
                            Vec sum = load(turned + i * kLanes + lane) * factor;
                            if (adds) {
                                sum += load_as_float(row + lane, lanes);
                            }
                            store_from_float(row + lane, sum, lanes);
                        });
                    }
                }
            }
        });
    }
};
