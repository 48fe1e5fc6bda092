// A term whose right side is the transposed of a turned NF4 weight, decoded while it is multiplied: a shift and a
// look-up of a group's words give pairs of two columns from sixteen rows. They come without their scales, which the
// sums of a block take instead.

#if defined(__AVX512BF16__)
// Rows of a panel up to which this is the faster way: the decoding, which tiles do once for all rows, is done for each
// few of them.
inline constexpr int64_t kMostTermRows = 128;

struct Nf4Term {
    static constexpr int64_t kMostStrips = kBlockStrips;
    const Panel<BFloat16>& a;
    const TurnedWeight& weight;
};

inline constexpr int64_t kTermBlocks = 32;               // Of a row of the weight, whose scales are decoded at once.
inline constexpr int64_t kBytesAhead = 8 * kGroupBytes;  // No prefetcher is as far ahead as few rows need it.
static_assert(kTurnedRows == kTileCols);

// acc[R][kTileCols] += a[R][blocks * kRun], rows kTileDepth apart, * groups of the weight, scaled, as multiply_tile.
template <int R>
void multiply_groups(const BFloat16* a, int64_t blocks, const uint8_t* groups, const float* scales, bool first,
                     float* acc) {
    // Sums that take turns, where rows are too few to keep the multipliers busy.
    constexpr int kTurns = R <= 2 ? 4 : R <= 6 ? 2 : 1;
    const __m512i code = nf4_code_words();
    for (int64_t block = 0; block < blocks; ++block) {
        __m512 sum[kTurns][R][2] = {};
        for (int64_t word = 0; word < kRowWords; ++word) {
            const uint8_t* words = groups + block * kGroupBytes + word * kTurnedRows * kWordBytes;
            const __m512i left = _mm512_loadu_si512(words);
            const __m512i right = _mm512_loadu_si512(words + kLanes * kWordBytes);
            __builtin_prefetch(words + kBytesAhead);
            __builtin_prefetch(words + kLanes * kWordBytes + kBytesAhead);
#pragma GCC unroll 4
            for (int i = 0; i < 4; ++i) {
                const auto left_pairs =
                    reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_srli_epi16(left, 4 * i), code));
                const auto right_pairs =
                    reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_srli_epi16(right, 4 * i), code));
                for (int r = 0; r < R; ++r) {
                    int32_t both;
                    std::memcpy(&both, a + r * kTileDepth + block * kRun + 16 * i + 2 * word, sizeof(both));
                    const auto value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
                    __m512(&sums)[2] = sum[i % kTurns][r];
                    sums[0] = _mm512_dpbf16_ps(sums[0], value, left_pairs);
                    sums[1] = _mm512_dpbf16_ps(sums[1], value, right_pairs);
                }
            }
        }
        for (int r = 0; r < R; ++r) {
            for (int side = 0; side < 2; ++side) {
                Vec total = sum[0][r][side];
                for (int turn = 1; turn < kTurns; ++turn) {
                    total += sum[turn][r][side];
                }
                float* sums = acc + r * kTileCols + side * kLanes;
                const Vec scaled = total * load(scales + block * kTileCols + side * kLanes);
                store(sums, first && block == 0 ? scaled : load(sums) + scaled);
            }
        }
    }
}

inline void accumulate(const Nf4Term& term, const Piece& piece, bool first_term, float* scales) {
    constexpr int64_t kTileBlocks = kTileDepth / kRun;
    // Few rows leave time for no more than to read on where the weight lies. Many are kept in the first-level cache,
    // a block of the panel at a time, while all groups that meet them pass.
    const int64_t width = piece.rows <= kTileRows ? kTileCols : piece.cols;
    for (int64_t part = 0; part < piece.cols; part += width) {
        const auto for_each_tile = [&](const auto& body) {
            for (int64_t c = part; c < part + width; c += kTileCols) {
                body(piece.col_first + c, scales + (c - part) * kTermBlocks, piece.acc + c * piece.rows);
            }
        };
        for (int64_t first = 0; first < term.weight.blocks(); first += kTermBlocks) {
            const int64_t last = min_of(first + kTermBlocks, term.weight.blocks());
            for_each_tile(
                [&](int64_t col, float* dst, float*) { term.weight.scales(col, first, last - first, dst, kTileCols); });
            for (int64_t block = first; block < last; block += kTileBlocks) {
                const BFloat16* a = term.a.at(piece.row_first, block * kRun);
                for_each_tile([&](int64_t col, const float* of_tile, float* acc) {
                    for_each_group<kTileRows>(piece.rows, [&](auto rows, int64_t row) {
                        multiply_groups<rows>(a + row * kTileDepth, min_of(kTileBlocks, last - block),
                                              term.weight.groups(col, block), of_tile + (block - first) * kTileCols,
                                              first_term && block == 0, acc + row * kTileCols);
                    });
                });
            }
        }
    }
}
#endif
