// Packs strips of a turned NF4 weight, scaled and rounded, where more rows meet it than decode it while they multiply.

// The transposed of a weight. Rows of a group are columns of tiles.
template <typename E>
struct PackNf4Transposed {
    using Element = E;

    const TurnedWeight& weight;

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, Element* strip) const {
        alignas(64) float scales[kTileDepth / kRun * kTurnedRows];
        for (int64_t c = 0; c < cols; c += kTurnedRows) {
            const int64_t block = depth_first / kRun;
            weight.scales(col_first + c, block, depth / kRun, scales, kTurnedRows);
            const uint8_t* groups = weight.groups(col_first + c, block);
            Element* tile = strip + c / kTileCols * kTileElements;
            for (int64_t b = 0; b < depth / kRun; ++b) {
                decode_group(groups + b * kGroupBytes, scales + b * kTurnedRows, tile + b * kRun * kTileCols);
            }
        }
    }

  private:
    // What the same columns' next tiles are made of.
    static constexpr int64_t kTilesAhead = kTileDepth / kRun * kGroupBytes;

    // kRun rows of as many tiles as 32 columns are.
    static void decode_group(const uint8_t* group, const float* scales, Element* tiles) {
        const CodeBook book;
        for (int64_t r = 0; r < kTurnedRows; r += kLanes) {
            const Vec scale = load(scales + r);
            Element* tile = tiles + r / kTileCols * kTileElements;
            for (int64_t w = 0; w < kRowWords; ++w) {
                const uint8_t* from = group + (w * kTurnedRows + r) * kWordBytes;
                const WordVec words = load_words(from);
                __builtin_prefetch(from + kTilesAhead, 0, 2);
#pragma GCC unroll 4
                for (int i = 0; i < 4; ++i) {
                    store_two(book(words, i) * scale, book(words, 4 + i) * scale, r % kTileCols,
                              tile + (16 * i + 2 * w) * kTileCols);
                }
            }
        }
    }

    // Columns from `col` on of two rows.
    static void store_two(Vec even, Vec odd, int64_t col, float* rows) {
        store(rows + col, even);
        store(rows + kTileCols + col, odd);
    }

#if defined(__AVX512BF16__)
    static void store_two(Vec even, Vec odd, int64_t col, BFloat16* pairs) {
        const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
        const __m512i in_turn =
            _mm512_set_epi32(0x1F000F, 0x1E000E, 0x1D000D, 0x1C000C, 0x1B000B, 0x1A000A, 0x190009, 0x180008, 0x170007,
                             0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
        _mm512_storeu_si512(pairs + 2 * col, _mm512_permutexvar_epi16(in_turn, both));
    }
#endif
};

// The scales of a weight, [blocks of a row][rows]: those of a strip of it as it lies are side by side.
class TurnedScales {
  public:
    explicit TurnedScales(const TurnedWeight& weight)
        : rows_(weight.rows()), memory_(rows_ * weight.blocks() * static_cast<int64_t>(sizeof(float))) {
        const int workers = threads_for(rows_ * weight.blocks());
#pragma omp parallel for schedule(static) num_threads(workers)
        for (int64_t row = 0; row < rows_; row += kTurnedRows) {
            weight.scales(row, 0, weight.blocks(), memory_.as<float>() + row, rows_);
        }
    }

    const float* of(int64_t row_first, int64_t block) const {
        return memory_.as<float>() + block * rows_ + row_first;
    }

  private:
    int64_t rows_;
    Scratch memory_;
};

// A weight as it lies, for the gradient of a layer's input.
template <typename E>
struct PackNf4Straight {
    using Element = E;
    static constexpr int64_t kRowsAhead = 4 * kTurnedRows;
    // A page of memory has only a few groups of a strip.
    static constexpr int64_t kMostStrips = 8;

    const TurnedWeight& weight;
    const TurnedScales& scales;

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t, Element* strip) const {
        const int64_t block = col_first / kRun;
        for (int64_t d = 0; d < depth; d += kTurnedRows) {
            const int64_t row = depth_first + d;
            if (row + kRowsAhead < weight.rows()) {
                const uint8_t* ahead = weight.groups(row + kRowsAhead, block);
                for (int64_t at = 0; at < kGroupBytes; at += 64) {
                    __builtin_prefetch(ahead + at, 0, 2);
                }
            }
            decode_group(weight.groups(row, block), scales.of(row, block), strip + d * kTileCols);
        }
    }

  private:
    // A group into rows of a strip's tiles.
    static void decode_group(const uint8_t* group, const float* scale, float* tiles) {
        decode_rows(group, scale, [tiles](int64_t row, int64_t col, Vec values) {
            store(tiles + row * kTileCols + col / kTileCols * kTileElements + col % kTileCols, values);
        });
    }

#if defined(__AVX512BF16__)
    static void decode_group(const uint8_t* group, const float* scale, BFloat16* tiles) {
        for (int64_t r = 0; r < kTurnedRows; r += kLanes) {
            decode_pairs(group + r * kWordBytes, scale + r, tiles + r * kTileCols);
        }
    }

    // Sixteen rows. Pairs of a strip are elements of two, which look up in one register that holds both rows' code
    // books.
    static void decode_pairs(const uint8_t* group, const float* scale, BFloat16* tiles) {
        const __m512 code = _mm512_loadu_ps(nf4_code);
        // The index of an element of the second row has a fifth bit.
        const __m512i fifth_bits = _mm512_set1_epi32(0x10100000);
        const __m512i nibbles = _mm512_set1_epi32(0x0F0F0F0F);
        constexpr int kAndOr = 0xEA;
        __m512i pairs[kRowPairs];
        pair_rows(group, pairs);
        for (int p = 0; p < kRowPairs; ++p) {
            const auto table =
                reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(code * scale[2 * p + 1], code * scale[2 * p]));
            const __m512i even = _mm512_ternarylogic_epi32(pairs[p], nibbles, fifth_bits, kAndOr);
            const __m512i odd = _mm512_ternarylogic_epi32(_mm512_srli_epi16(pairs[p], 4), nibbles, fifth_bits, kAndOr);
            const __m512i index[4] = {even, odd, _mm512_srli_epi16(even, 8), _mm512_srli_epi16(odd, 8)};
            for (int i = 0; i < 4; ++i) {
                BFloat16* row = tiles + 2 * p * kTileCols + i / 2 * kTileElements + i % 2 * kTileCols;
                _mm512_storeu_si512(row, _mm512_permutexvar_epi16(index[i], table));
            }
        }
    }
#endif
};
