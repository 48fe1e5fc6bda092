// How operands lie in memory when they are multiplied. The left one is a panel, packed whole before the product; the
// right one exists a strip at a time, in tiles of kTileCols columns.

inline constexpr int kTileCols = 2 * kLanes;
inline constexpr int64_t kTileDepth = 256;

// Columns that are packed at once: tiles of them lie one behind the other, each [kTileDepth][kTileCols], or of
// BFloat16 [kTileDepth / 2][kTileCols][2].
inline constexpr int64_t kStripCols = kRun;
inline constexpr int64_t kStripElements = kTileDepth * kStripCols;
inline constexpr int64_t kTileElements = kTileDepth * kTileCols;

// Elements of a row that one multiplication takes at once.
template <typename Element>
inline constexpr int64_t kPerWord = sizeof(float) / sizeof(Element);

// A flat strip takes the same memory, and its rows are read in longer runs: its tiles are less deep.
inline constexpr int64_t kFlatCols = 8 * kStripCols;
template <typename Element>
inline constexpr int64_t kFlatDepth = kPerWord<Element>*(kStripElements / kFlatCols);

// [rows, depth], cut into blocks of kTileDepth, which lie one behind the other: in [row][depth] a step of a power of
// two from row to row would leave most of the cache unused. A zero fills the last pair of an
// odd depth. A row may be the sum of several, which lie one behind the other (see parts.h).
template <typename Element, int Parts = 1>
class Panel {
  public:
    // To be filled by its maker.
    Panel(int64_t rows, int64_t depth)
        : rows_(rows), depth_(depth), stride_(min_of(kTileDepth, ceil_div(depth, kRun) * kRun)), memory_(bytes()) {
        const int64_t rest = depth % kPerWord<Element>;
        for (int64_t r = 0; r < rows * Parts && rest != 0; ++r) {
            std::memset(static_cast<void*>(at(0, depth) + r * stride_), 0,
                        sizeof(Element) * static_cast<size_t>(kPerWord<Element> - rest));
        }
    }

    // Rows of what a reader reads.
    template <typename Reader>
    Panel(const Reader& reader, int64_t row_first, int64_t rows) : Panel(rows, reader.matrix().cols) {
        const int workers = threads_for(rows * depth_ / kLanes);
#pragma omp parallel for schedule(static) num_threads(workers)
        for (int64_t r = 0; r < rows; ++r) {
            for (int64_t d = 0; d < depth_; d += kRun) {
                reader.read((row_first + r) * depth_ + d, min_of(kRun, depth_ - d), at(r, d));
            }
        }
    }

    int64_t rows() const {
        return rows_;
    }
    int64_t depth() const {
        return depth_;
    }
    // From a row, or a part of one, to the next.
    int64_t stride() const {
        return stride_;
    }
    int64_t bytes() const {
        return ceil_div(depth_, stride_) * stride_ * rows_ * Parts * static_cast<int64_t>(sizeof(Element));
    }

    Element* at(int64_t row, int64_t depth_first) const {
        const int64_t block = depth_first / kTileDepth;
        return memory_.as<Element>() + (block * rows_ + row) * Parts * stride_ + depth_first % kTileDepth;
    }

  private:
    int64_t rows_;
    int64_t depth_;
    int64_t stride_;
    Scratch memory_;
};

// Packs strips of the transposed of what a reader reads, [n, depth]: runs of kLanes rows are read and turned.
template <typename Reader>
struct PackTransposed {
    using Element = typename Reader::Element;

    Reader reader;
    int64_t row_first = 0;

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, Element* strip) const {
        const int64_t k = reader.matrix().cols;
        const int64_t next = depth_first + depth;
        for (int64_t c = 0; c < cols; c += kLanes) {
            const int64_t rows = min_of(kLanes, cols - c);
            const int64_t first = (row_first + col_first + c) * k;
            auto* tile = reinterpret_cast<float*>(strip + c / kTileCols * kTileElements) + c % kTileCols;
            for (int64_t d = 0; d < depth; d += kRun) {
                const int64_t at = first + depth_first + d;
                const int64_t count = min_of(kRun, depth - d);
                const Element* src = in_place(reader, at, count);
                int64_t stride = k;
                alignas(64) Element runs[kLanes][kRun];
                if (src == nullptr || rows < kLanes || k % kPerWord<Element> != 0) {
                    for (int64_t r = 0; r < rows; ++r) {
                        reader.read(at + r * k, count, runs[r]);
                    }
                    std::memset(static_cast<void*>(runs[rows]), 0,
                                sizeof(runs[0]) * static_cast<size_t>(kLanes - rows));
                    src = runs[0];
                    stride = kRun;
                }
                for (int64_t word = 0; word < kRun / kPerWord<Element>; word += kLanes) {
                    transpose_square(reinterpret_cast<const float*>(src) + word, stride / kPerWord<Element>,
                                     tile + (d / kPerWord<Element> + word) * kTileCols, kTileCols);
                }
            }
            for (int64_t r = 0; r < rows && next < k; ++r) {
                reader.prefetch(first + r * k + next, min_of(kTileDepth, k - next));
            }
        }
    }
};

// kPerWord rows of kRun columns as words of tiles, which are `tile_elements` apart.
inline void spread(const float* const (&rows)[1], float* tiles, int64_t tile_elements) {
    for (int64_t c = 0; c < kRun; c += kTileCols) {
        std::memcpy(tiles + c / kTileCols * tile_elements, rows[0] + c, sizeof(float) * kTileCols);
    }
}

#if defined(__AVX512BF16__)
// Two rows become pairs.
inline void spread(const BFloat16* const (&rows)[2], BFloat16* tiles, int64_t tile_elements) {
    const __m512i picks =
        _mm512_set_epi32(0x2F000F, 0x2E000E, 0x2D000D, 0x2C000C, 0x2B000B, 0x2A000A, 0x290009, 0x280008, 0x270007,
                         0x260006, 0x250005, 0x240004, 0x230003, 0x220002, 0x210001, 0x200000);
    const __m512i later = _mm512_add_epi16(picks, _mm512_set1_epi16(16));
    for (int64_t c = 0; c < kRun; c += kTileCols) {
        const __m512i first = _mm512_loadu_si512(rows[0] + c);
        const __m512i second = _mm512_loadu_si512(rows[1] + c);
        BFloat16* pairs = tiles + c / kTileCols * tile_elements;
        _mm512_storeu_si512(pairs, _mm512_permutex2var_epi16(first, picks, second));
        _mm512_storeu_si512(pairs + kTileCols, _mm512_permutex2var_epi16(first, later, second));
    }
}
#endif

// Fills a strip whose tiles are `tile_depth` deep with rows that lie as they are multiplied. Read: const
// Element*(int64_t row, int64_t col, Element* buffer) gives kRun columns, in the buffer or where they are.
template <typename Element, typename Read>
void pack_rows(int64_t depth, int64_t cols, int64_t tile_depth, const Read& read, Element* strip) {
    alignas(64) static constexpr Element kZeros[kRun] = {};
    for (int64_t d = 0; d < depth; d += kPerWord<Element>) {
        for (int64_t c = 0; c < cols; c += kRun) {
            alignas(64) Element buffers[kPerWord<Element>][kRun];
            const Element* rows[kPerWord<Element>];
            for (int64_t i = 0; i < kPerWord<Element>; ++i) {
                rows[i] = d + i < depth ? read(d + i, c, buffers[i]) : kZeros;
            }
            spread(rows, strip + d * kTileCols + c * tile_depth, tile_depth * kTileCols);
        }
    }
}

// Packs strips of what a reader reads, [depth, n]: rows of a tile are runs of the matrix.
template <typename Reader>
struct PackStraight {
    using Element = typename Reader::Element;
    static constexpr int64_t kMostStrips = kFlatCols / kStripCols;

    Reader reader;
    int64_t row_first = 0;

    int64_t cols() const { return reader.matrix().cols; }

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, Element* strip,
                    int64_t tile_depth = kTileDepth) const {
        // No more, for rows a power of two apart share a few sets of the caches.
        const int64_t rows_ahead = cols > kStripCols ? 8 : 64;
        const int64_t n = reader.matrix().cols;
        const int64_t last = reader.matrix().rows - row_first - depth_first;
        const int64_t first = (row_first + depth_first) * n + col_first;
        pack_rows(
            depth, cols, tile_depth,
            [&](int64_t row, int64_t col, Element* buffer) {
                const int64_t at = first + row * n + col;
                const int64_t count = min_of(kRun, cols - col);
                if (row + rows_ahead < last) {
                    reader.prefetch(at + rows_ahead * n, count);
                }
                if (const Element* src = in_place(reader, at, count)) {
                    return src;
                }
                reader.read(at, count, buffer);
                return static_cast<const Element*>(buffer);
            },
            strip);
    }
};

// Packs strips of a panel, [depth, n].
template <typename Element>
struct PackPanel {
    static constexpr int64_t kMostStrips = kFlatCols / kStripCols;
    static constexpr int64_t kRowsAhead = 8;

    const Panel<Element>& panel;

    int64_t cols() const { return panel.depth(); }

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, Element* strip,
                    int64_t tile_depth = kTileDepth) const {
        constexpr int64_t kBytes = kRun * static_cast<int64_t>(sizeof(Element));
        pack_rows(
            depth, cols, tile_depth,
            [&](int64_t row, int64_t col, Element*) {
                const Element* src = panel.at(depth_first + row, col_first + col);
                const auto* ahead = reinterpret_cast<const char*>(src + kRowsAhead * panel.stride());
                for (int64_t at = 0; at < kBytes; at += 64) {
                    __builtin_prefetch(ahead + at);
                }
                return src;
            },
            strip);
    }
};
