// Packs strips of a turned NF4 weight, scaled and rounded, where more rows meet it than decode it while they multiply.

#if defined(__AVX512BF16__)
// The transposed of a weight. A group is 32 columns of a tile.
struct PackNf4Transposed {
    using Element = BFloat16;

    const TurnedWeight& weight;

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t cols, BFloat16* strip) const {
        alignas(64) float scales[kTileDepth / kRun * kTurnedRows];
        for (int64_t c = 0; c < cols; c += kTileCols) {
            const int64_t block = depth_first / kRun;
            weight.scales(col_first + c, block, depth / kRun, scales, kTurnedRows);
            const uint8_t* groups = weight.groups(col_first + c, block);
            BFloat16* tile = strip + c / kTileCols * kTileElements;
            for (int64_t b = 0; b < depth / kRun; ++b) {
                decode_group(groups + b * kGroupBytes, scales + b * kTurnedRows, tile + b * kRun * kTileCols);
            }
        }
    }

  private:
    // tile[kRun / 2][kTileCols][2]
    static void decode_group(const uint8_t* group, const float* scales, BFloat16* tile) {
        const __m512 code = _mm512_loadu_ps(nf4_code);
        // Values of one column lie behind those of the other.
        const __m512i in_turn =
            _mm512_set_epi32(0x1F000F, 0x1E000E, 0x1D000D, 0x1C000C, 0x1B000B, 0x1A000A, 0x190009, 0x180008, 0x170007,
                             0x160006, 0x150005, 0x140004, 0x130003, 0x120002, 0x110001, 0x100000);
        for (int side = 0; side < 2; ++side) {
            const __m512 scale = load(scales + side * kLanes);
            for (int64_t word = 0; word < kRowWords; ++word) {
                const __m512i words = _mm512_loadu_si512(group + (word * kTurnedRows + side * kLanes) * kWordBytes);
#pragma GCC unroll 4
                for (int i = 0; i < 4; ++i) {
                    const __m512 even = _mm512_permutexvar_ps(_mm512_srli_epi32(words, 4 * i), code) * scale;
                    const __m512 odd = _mm512_permutexvar_ps(_mm512_srli_epi32(words, 16 + 4 * i), code) * scale;
                    const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(odd, even));
                    _mm512_storeu_si512(tile + (8 * i + word) * 2 * kTileCols + side * 2 * kLanes,
                                        _mm512_permutexvar_epi16(in_turn, both));
                }
            }
        }
    }
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

// A weight as it lies, for the gradient of a layer's input. Pairs of a strip are elements of two rows, which look up in
// one register that holds both rows' code books.
struct PackNf4Straight {
    using Element = BFloat16;
    static constexpr int64_t kRowsAhead = 4 * kTurnedRows;
    // A page of memory has only a few groups of a strip.
    static constexpr int64_t kMostStrips = 8;

    const TurnedWeight& weight;
    const TurnedScales& scales;

    void operator()(int64_t depth_first, int64_t depth, int64_t col_first, int64_t, BFloat16* strip) const {
        const int64_t block = col_first / kRun;
        for (int64_t d = 0; d < depth; d += kTurnedRows) {
            const int64_t row = depth_first + d;
            if (row + kRowsAhead < weight.rows()) {
                const uint8_t* ahead = weight.groups(row + kRowsAhead, block);
                for (int64_t at = 0; at < kGroupBytes; at += 64) {
                    __builtin_prefetch(ahead + at, 0, 2);
                }
            }
            for (int64_t r = 0; r < kTurnedRows; r += kLanes) {
                decode_rows(weight.groups(row, block) + r * kWordBytes, scales.of(row, block) + r,
                            strip + (d + r) * kTileCols);
            }
        }
    }

  private:
    static constexpr int kPairs = kLanes / 2;

    // Words of sixteen rows become registers of two rows each, whose halves of words are one row's and the other's.
    static void pair_rows(const uint8_t* group, __m512i (&pairs)[kPairs]) {
        // Of two words the even or the odd pairs of rows, their halves in turn.
        const auto step = [](int first) {
            const int64_t low = first | int64_t{first + 2} << 16 | int64_t{first + 1} << 32 | int64_t{first + 3} << 48;
            const int64_t both = 0x0020002000200020;
            const int64_t next = 0x0008000800080008;
            return _mm512_set_epi64(low + 3 * next + both, low + 3 * next, low + 2 * next + both, low + 2 * next,
                                    low + next + both, low + next, low + both, low);
        };
        const __m512i even = step(0);
        const __m512i odd = step(4);
        __m512i a[kPairs];
        for (int w = 0; w < kPairs; w += 2) {
            const __m512i first = _mm512_loadu_si512(group + w * kTurnedRows * kWordBytes);
            const __m512i second = _mm512_loadu_si512(group + (w + 1) * kTurnedRows * kWordBytes);
            a[w] = _mm512_permutex2var_epi16(first, even, second);
            a[w + 1] = _mm512_permutex2var_epi16(first, odd, second);
        }
        // a[2 j + e]: quarter q has words 2 j and 2 j + 1 of pair 2 q + e.
        for (int e = 0; e < 2; ++e) {
            const __m512i front_low = _mm512_shuffle_i64x2(a[e], a[2 + e], 0x88);
            const __m512i front_high = _mm512_shuffle_i64x2(a[e], a[2 + e], 0xDD);
            const __m512i back_low = _mm512_shuffle_i64x2(a[4 + e], a[6 + e], 0x88);
            const __m512i back_high = _mm512_shuffle_i64x2(a[4 + e], a[6 + e], 0xDD);
            pairs[e] = _mm512_shuffle_i64x2(front_low, back_low, 0x88);
            pairs[4 + e] = _mm512_shuffle_i64x2(front_low, back_low, 0xDD);
            pairs[2 + e] = _mm512_shuffle_i64x2(front_high, back_high, 0x88);
            pairs[6 + e] = _mm512_shuffle_i64x2(front_high, back_high, 0xDD);
        }
    }

    // Sixteen rows of a group into two tiles.
    static void decode_rows(const uint8_t* group, const float* scale, BFloat16* tiles) {
        const __m512 code = _mm512_loadu_ps(nf4_code);
        // The index of an element of the second row has a fifth bit.
        const __m512i fifth_bits = _mm512_set1_epi32(0x10100000);
        const __m512i nibbles = _mm512_set1_epi32(0x0F0F0F0F);
        constexpr int kAndOr = 0xEA;
        __m512i pairs[kPairs];
        pair_rows(group, pairs);
        for (int p = 0; p < kPairs; ++p) {
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
};
#endif
