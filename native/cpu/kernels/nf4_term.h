// A term whose right side is the transposed of a weight in whole NF4 blocks. Its words of eight elements are turned as
// they are, a quarter of what turning decoded ones would move, and decoded as they are multiplied: a shift and a
// look-up give pairs from sixteen rows of the weight. They come without their scales, which the sums of a block take
// instead.

#if defined(__AVX512BF16__)
// Rows of a panel up to which this is the faster way: the decoding, which tiles do once for all rows, is done for each
// group of them.
inline constexpr int64_t kMostTermRows = 128;

struct Nf4Term {
    static constexpr int64_t kMostStrips = kBlockStrips;
    const Panel<BFloat16>& a;  // In pairs, and no narrower than a tile is deep.
    RunReader<BFloat16> weight;
};

inline constexpr int64_t kRunWords = kRun / kPairedRun;
inline constexpr int64_t kTermBlocks = 32;             // Of a row of the weight, whose scales are decoded at once.
inline constexpr int64_t kTermPanelBytes = 512 << 10;  // Of a panel, which stay in the second-level cache.
inline constexpr int64_t kWordsAhead = 3 * kLanes;     // Of a row, asked for before they are turned.

// words[kTileDepth / kPairedRun][kTileCols] of `cols` rows of the weight, `depth` elements from depth_first on.
inline void turn_words(const RunReader<BFloat16>& weight, int64_t row_first, int64_t cols, int64_t depth_first,
                       int64_t depth, float* words) {
    const int64_t stride = weight.matrix().cols / kPairedRun;
    const auto* bytes = weight.block_bytes((row_first * weight.matrix().cols + depth_first) / kRun);
    const auto* src = reinterpret_cast<const float*>(bytes);
    for (int64_t word = 0; word < depth / kPairedRun; word += kLanes) {
        // No prefetcher follows so many short streams. Behind the end of these rows come the next ones.
        const bool ends = depth_first / kPairedRun + word + kWordsAhead >= stride;
        const float* ahead = src + word + kWordsAhead + (ends ? (kTileCols - 1) * stride : 0);
        for (int64_t r = 0; r < cols; ++r) {
            __builtin_prefetch(ahead + r * stride);
        }
        const int64_t count = min_of(kLanes, depth / kPairedRun - word);
        for (int64_t c = 0; c < cols; c += kLanes) {
            const float* from = src + c * stride + word;
            float* dst = words + word * kTileCols + c;
            if (c + kLanes <= cols && count == kLanes) {
                transpose_square(from, stride, dst, kTileCols);
                continue;
            }
            alignas(64) float square[kLanes][kLanes] = {};
            for (int64_t r = 0; r < min_of(kLanes, cols - c); ++r) {
                std::memcpy(square[r], from + r * stride, sizeof(float) * static_cast<size_t>(count));
            }
            transpose_square(square[0], kLanes, dst, kTileCols);
        }
    }
}

// scales[kTermBlocks][kTileCols] of `cols` rows of the weight, `blocks` of each from the one at depth_first on.
inline void turn_scales(const RunReader<BFloat16>& weight, int64_t row_first, int64_t cols, int64_t depth_first,
                        int64_t blocks, float* scales) {
    alignas(64) float rows[kTileCols][kTermBlocks];
    for (int64_t c = 0; c < cols; ++c) {
        weight.scales().fill(((row_first + c) * weight.matrix().cols + depth_first) / kRun, blocks, rows[c]);
    }
    for (int64_t c = 0; c < kTileCols; c += kLanes) {
        for (int64_t block = 0; block < blocks; block += kLanes) {
            transpose_square(rows[c] + block, kTermBlocks, scales + block * kTileCols + c, kTileCols);
        }
    }
}

// acc[R][kTileCols] += a[R][blocks * kRun], rows kTileDepth apart, * the turned words, scaled.
template <int R>
void multiply_words(const BFloat16* a, int64_t blocks, const float* words, const float* scales, float* acc) {
    const __m512i code = nf4_code_words();
    for (int64_t block = 0; block < blocks; ++block) {
        __m512 sum[R][2] = {};
        for (int64_t word = block * kRunWords; word < (block + 1) * kRunWords; ++word) {
            const __m512i left = _mm512_loadu_si512(words + word * kTileCols);
            const __m512i right = _mm512_loadu_si512(words + word * kTileCols + kLanes);
#pragma GCC unroll 4
            for (int pair = 0; pair < 4; ++pair) {
                const auto left_pairs =
                    reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_srli_epi16(left, 4 * pair), code));
                const auto right_pairs =
                    reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(_mm512_srli_epi16(right, 4 * pair), code));
                for (int r = 0; r < R; ++r) {
                    int32_t both;
                    std::memcpy(&both, a + r * kTileDepth + word * kPairedRun + 2 * pair, sizeof(both));
                    const auto value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(both));
                    sum[r][0] = _mm512_dpbf16_ps(sum[r][0], value, left_pairs);
                    sum[r][1] = _mm512_dpbf16_ps(sum[r][1], value, right_pairs);
                }
            }
        }
        const Vec left_scale = load(scales + block * kTileCols);
        const Vec right_scale = load(scales + block * kTileCols + kLanes);
        for (int r = 0; r < R; ++r) {
            float* row = acc + r * kTileCols;
            store(row, load(row) + sum[r][0] * left_scale);
            store(row + kLanes, load(row + kLanes) + sum[r][1] * right_scale);
        }
    }
}

inline void accumulate(const Nf4Term& term, const Piece& piece, float* memory) {
    float* words = memory;
    float* scales = memory + kTileDepth / kPairedRun * kTileCols;
    constexpr int64_t kTermDepth = kTermBlocks * kRun;
    // Rows of the weight are read as far as the rows of the panel that meet them stay in the cache.
    const int64_t longest = ceil_div(kTermPanelBytes / static_cast<int64_t>(sizeof(BFloat16)) / piece.rows, kTermDepth);
    for (int64_t from = 0; from < term.a.depth(); from += longest * kTermDepth) {
        const int64_t to = min_of(from + longest * kTermDepth, term.a.depth());
        piece.for_each_tile([&](int64_t col_first, int64_t cols, float* acc) {
            for (int64_t d = from; d < to; d += kTileDepth) {
                if ((d - from) % kTermDepth == 0) {
                    turn_scales(term.weight, col_first, cols, d, min_of(kTermBlocks, (to - d) / kRun), scales);
                }
                const int64_t depth = min_of(kTileDepth, to - d);
                turn_words(term.weight, col_first, cols, d, depth, words);
                const BFloat16* a = term.a.at(piece.row_first, d);
                for_each_group<kTileRows>(piece.rows, [&](auto rows, int64_t row) {
                    multiply_words<rows>(a + row * kTileDepth, depth / kRun, words,
                                         scales + d / kRun % kTermBlocks * kTileCols, acc + row * kTileCols);
                });
            }
        });
    }
}
#endif
