// A term whose right side is the transposed of a turned NF4 weight, decoded while it is multiplied: a shift and a
// look-up of a group's words give elements of as many rows as there are lanes. They come without their scales, which
// the sums of a block take instead.

// What a look-up gives, and its product with a panel's elements.
template <typename Element>
struct Nf4Products;

template <>
struct Nf4Products<float> {
    static constexpr int kPerWord = 8;

    CodeBook book;

    static int64_t column(int64_t word, int i) { return 16 * (i % 4) + 2 * word + i / 4; }

    Vec look_up(WordVec words, int i) const { return book(words, i); }

    static Vec add(Vec sum, const float* a, Vec values) { return sum + broadcast(*a) * values; }
};

#if defined(__AVX512BF16__)
// Pairs of two columns.
template <>
struct Nf4Products<BFloat16> {
    static constexpr int kPerWord = 4;

    __m512i code = nf4_code_words();

    static int64_t column(int64_t word, int i) { return 16 * i + 2 * word; }

    __m512bh look_up(WordVec words, int i) const {
        return reinterpret_cast<__m512bh>(_mm512_permutexvar_epi16(reinterpret_cast<__m512i>(words >> (4 * i)), code));
    }

    static Vec add(Vec sum, const BFloat16* a, __m512bh pairs) {
        int32_t both;
        std::memcpy(&both, a, sizeof(both));
        return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(_mm512_set1_epi32(both)), pairs);
    }
};
#endif

template <typename Element>
struct Nf4Term {
    // Of a panel, up to which this is the faster way: the decoding, which tiles do once for all rows, is done for each
    // few of them.
    static constexpr int64_t kMostRows = sizeof(Element) == sizeof(float) ? 8 : 128;
    static constexpr int64_t kMostStrips = kBlockStrips;
    const Panel<Element>& a;
    const TurnedWeight& weight;
};

// Rows whose sums stay in registers beside the code book and what is looked up in it.
#if defined(__AVX512F__)
inline constexpr int kTermRows = 12;
#else
inline constexpr int kTermRows = 4;
#endif
inline constexpr int64_t kTermBlocks = 32;               // Of a row of the weight, whose scales are decoded at once.
inline constexpr int64_t kBytesAhead = 8 * kGroupBytes;  // No prefetcher is as far ahead as few rows need it.

// acc[R][kTurnedRows] += a[R][blocks * kRun], rows kTileDepth apart, * groups of the weight, scaled, or = where acc is
// fresh. acc is tiles, each `step` behind the one before.
template <int R, typename Element>
void multiply_groups(const Element* a, int64_t blocks, const uint8_t* groups, const float* scales, bool fresh,
                     float* acc, int64_t step) {
    // Registers of rows of the weight that meet an element of the panel at once.
    constexpr int kSides = 2;
    // Sums that take turns, where rows are too few to keep the multipliers busy.
    constexpr int kTurns = 4 * R <= kTermRows ? 4 : 2 * R <= kTermRows ? 2 : 1;
    const Nf4Products<Element> products;
    for (int64_t block = 0; block < blocks; ++block) {
        for (int64_t first = 0; first < kTurnedRows; first += kSides * kLanes) {
            Vec sum[kTurns][R][kSides] = {};
            for (int64_t word = 0; word < kRowWords; ++word) {
                const uint8_t* from = groups + block * kGroupBytes + (word * kTurnedRows + first) * kWordBytes;
                WordVec words[kSides];
                for (int side = 0; side < kSides; ++side) {
                    words[side] = load_words(from + side * kLanes * kWordBytes);
                    __builtin_prefetch(from + side * kLanes * kWordBytes + kBytesAhead);
                }
#pragma GCC unroll 8
                for (int i = 0; i < products.kPerWord; ++i) {
                    const Element* of_column = a + block * kRun + products.column(word, i);
                    decltype(products.look_up(words[0], i)) values[kSides];
                    for (int side = 0; side < kSides; ++side) {
                        values[side] = products.look_up(words[side], i);
                    }
                    for (int r = 0; r < R; ++r) {
                        for (int side = 0; side < kSides; ++side) {
                            Vec& one = sum[i % kTurns][r][side];
                            one = products.add(one, of_column + r * kTileDepth, values[side]);
                        }
                    }
                }
            }
            for (int r = 0; r < R; ++r) {
                for (int side = 0; side < kSides; ++side) {
                    Vec total = sum[0][r][side];
                    for (int turn = 1; turn < kTurns; ++turn) {
                        total += sum[turn][r][side];
                    }
                    const int64_t col = first + side * kLanes;
                    float* sums = acc + col / kTileCols * step + r * kTileCols + col % kTileCols;
                    const Vec scaled = total * load(scales + block * kTurnedRows + col);
                    store(sums, fresh && block == 0 ? scaled : load(sums) + scaled);
                }
            }
        }
    }
}

template <typename Element>
void accumulate(const Nf4Term<Element>& term, const Piece& piece, bool fresh, float* scales) {
    constexpr int64_t kTileBlocks = kTileDepth / kRun;
    // Few rows leave time for no more than to read on where the weight lies. Many are kept in the first-level cache,
    // a block of the panel at a time, while all groups that meet them pass.
    const int64_t width = piece.rows <= kTermRows ? kTurnedRows : piece.cols;
    for (int64_t part = 0; part < piece.cols; part += width) {
        const auto for_each_column_of_groups = [&](const auto& body) {
            for (int64_t c = part; c < part + width; c += kTurnedRows) {
                body(piece.col_first + c, scales + (c - part) * kTermBlocks, piece.acc + c * piece.rows);
            }
        };
        for (int64_t first = 0; first < term.weight.blocks(); first += kTermBlocks) {
            const int64_t last = min_of(first + kTermBlocks, term.weight.blocks());
            for_each_column_of_groups([&](int64_t col, float* dst, float*) {
                term.weight.scales(col, first, last - first, dst, kTurnedRows);
            });
            for (int64_t block = first; block < last; block += kTileBlocks) {
                const Element* a = term.a.at(piece.row_first, block * kRun);
                for_each_column_of_groups([&](int64_t col, const float* of_groups, float* acc) {
                    for_each_group<kTermRows>(piece.rows, [&](auto rows, int64_t row) {
                        multiply_groups<rows>(a + row * kTileDepth, min_of(kTileBlocks, last - block),
                                              term.weight.groups(col, block), of_groups + (block - first) * kTurnedRows,
                                              fresh && block == 0, acc + row * kTileCols, piece.rows * kTileCols);
                    });
                });
            }
        }
    }
}
