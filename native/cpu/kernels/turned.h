// NF4 in the order of nibble_nf4_turn: the blocks of 32 rows side by side, in groups of words.

inline constexpr int64_t kTurnedRows = NIBBLE_TURNED_ROWS;
inline constexpr int64_t kRowWords = NIBBLE_NF4_BLOCK / 8;  // Of a row in a group.
inline constexpr int64_t kWordBytes = sizeof(uint32_t);
inline constexpr int64_t kGroupBytes = kRowWords * kTurnedRows * kWordBytes;

// Where a block of the flattened weight lies.
struct TurnedPlace {
    int64_t group;
    int64_t row;  // In its group.

    TurnedPlace(int64_t block, int64_t blocks_of_a_row)
        : group(block / blocks_of_a_row / kTurnedRows * blocks_of_a_row + block % blocks_of_a_row),
          row(block / blocks_of_a_row % kTurnedRows) {}

    int64_t scale() const { return group * kTurnedRows + row; }
    int64_t byte() const { return group * kGroupBytes + row * kWordBytes; }
};

inline constexpr uint64_t kLowNibbles = 0x0F0F0F0F0F0F0F0F;

// Eight bytes of each quarter of a block become a byte of each of eight words.
inline void turn_block(const uint8_t* bytes, uint8_t* group) {
    uint64_t quarter[4];
    std::memcpy(quarter, bytes, sizeof(quarter));
    const auto even = [&](int q) { return (quarter[q] >> 4 & kLowNibbles) | (quarter[q + 1] & ~kLowNibbles); };
    const auto odd = [&](int q) { return (quarter[q] & kLowNibbles) | (quarter[q + 1] & kLowNibbles) << 4; };
    const uint64_t parts[4] = {even(0), even(2), odd(0), odd(2)};
    for (int64_t w = 0; w < kRowWords; ++w) {
        uint32_t word = 0;
        for (int part = 0; part < 4; ++part) {
            word |= static_cast<uint32_t>(parts[part] >> (8 * w) & 0xFF) << (8 * part);
        }
        std::memcpy(group + w * kTurnedRows * kWordBytes, &word, sizeof(word));
    }
}

inline void turn_block_back(const uint8_t* group, uint8_t* bytes) {
    uint64_t parts[4] = {};
    for (int64_t w = 0; w < kRowWords; ++w) {
        uint32_t word;
        std::memcpy(&word, group + w * kTurnedRows * kWordBytes, sizeof(word));
        for (int part = 0; part < 4; ++part) {
            parts[part] |= uint64_t{word >> (8 * part) & 0xFF} << (8 * w);
        }
    }
    const auto first = [&](int part) { return (parts[part] & kLowNibbles) << 4 | (parts[part + 2] & kLowNibbles); };
    const auto second = [&](int part) { return (parts[part] & ~kLowNibbles) | (parts[part + 2] >> 4 & kLowNibbles); };
    const uint64_t quarter[4] = {first(0), second(0), first(1), second(1)};
    std::memcpy(bytes, quarter, sizeof(quarter));
}

inline void nf4_turn(int64_t rows, int64_t cols, bool back, uint8_t* packed, float* absmax, uint8_t* codes) {
    const int64_t blocks = cols / NIBBLE_NF4_BLOCK;
    const int64_t strip = blocks * kTurnedRows;  // Blocks of a group of rows.
    constexpr int64_t kBlockBytes = NIBBLE_NF4_BLOCK / 2;
    const int workers = threads_for(rows * cols / 2);
    Scratch copies(strip * kBlockBytes * workers);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t first = 0; first < rows * blocks; first += strip) {
        auto* copy = copies.as<uint8_t>() + omp_get_thread_num() * strip * kBlockBytes;
        const auto turn = [&](auto* all, int64_t bytes, const auto& turn_one) {
            if (all == nullptr) {
                return;
            }
            auto* here = reinterpret_cast<uint8_t*>(all) + first * bytes;
            std::memcpy(copy, here, static_cast<size_t>(strip * bytes));
            for (int64_t block = 0; block < strip; ++block) {
                turn_one(TurnedPlace(block, blocks), block, here);
            }
        };
        const auto turn_scales = [&](auto* scales) {
            constexpr int64_t kBytes = sizeof(*scales);
            turn(scales, kBytes, [&](const TurnedPlace& place, int64_t block, uint8_t* here) {
                const int64_t from = back ? place.scale() : block;
                const int64_t to = back ? block : place.scale();
                std::memcpy(here + to * kBytes, copy + from * kBytes, kBytes);
            });
        };
        turn(packed, kBlockBytes, [&](const TurnedPlace& place, int64_t block, uint8_t* here) {
            if (back) {
                turn_block_back(copy + place.byte(), here + block * kBlockBytes);
            } else {
                turn_block(copy + block * kBlockBytes, here + place.byte());
            }
        });
        turn_scales(absmax);
        turn_scales(codes);
    }
}

// A turned weight as what is looked up and multiplied.
class TurnedWeight {
  public:
    explicit TurnedWeight(const nibble_weight& weight) : weight_(weight), blocks_(weight.cols / NIBBLE_NF4_BLOCK) {}

    int64_t rows() const { return weight_.rows; }

    // Of a row.
    int64_t blocks() const { return blocks_; }

    // The groups of 32 rows from a block on.
    const uint8_t* groups(int64_t row_first, int64_t block) const {
        return static_cast<const uint8_t*>(weight_.data) + group(row_first, block) * kGroupBytes;
    }

    // dst[count][stride]: the scales of 32 rows from a block on.
    void scales(int64_t row_first, int64_t block_first, int64_t count, float* dst, int64_t stride) const {
        const int64_t first = group(row_first, block_first) * kTurnedRows;
        if (weight_.absmax != nullptr) {
            for (int64_t b = 0; b < count; ++b) {
                std::memcpy(dst + b * stride, weight_.absmax + first + b * kTurnedRows, sizeof(float) * kTurnedRows);
            }
            return;
        }
        for (int64_t b = 0; b < count;) {
            alignas(64) float outer[kTurnedRows];
            int64_t end = count;  // As far as they are these blocks' outer scales.
            for (int64_t r = 0; r < kTurnedRows; ++r) {
                const int64_t block = (row_first + r) * blocks_ + block_first + b;
                outer[r] = weight_.nested_absmax[block / NIBBLE_ABSMAX_BLOCK];
                end = min_of(end, b + NIBBLE_ABSMAX_BLOCK - block % NIBBLE_ABSMAX_BLOCK);
            }
            for (; b < end; ++b) {
                const uint8_t* codes = weight_.absmax_codes + first + b * kTurnedRows;
                __builtin_prefetch(codes + kCodesAhead);
                alignas(64) float inner[kTurnedRows];
                look_up(codes, inner);
                for (int64_t r = 0; r < kTurnedRows; r += kLanes) {
                    store(dst + b * stride + r, load(inner + r) * load(outer + r) + weight_.absmax_offset);
                }
            }
        }
    }

  private:
    static constexpr int64_t kCodesAhead = 1 << 10;  // In steps too long for a prefetcher.

    int64_t group(int64_t row_first, int64_t block) const { return row_first / kTurnedRows * blocks_ + block; }

    // The scales of a group, as long as they are codes.
    void look_up(const uint8_t* codes, float* dst) const {
#if defined(__AVX512BW__)
        Vec front;
        Vec back;
        map_.look_up(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)), front, back);
        store(dst, front);
        store(dst + kLanes, back);
#else
        for (int64_t r = 0; r < kTurnedRows; ++r) {
            dst[r] = map_[codes[r]];
        }
#endif
    }

    nibble_weight weight_;
    int64_t blocks_;
#if defined(__AVX512BW__)
    MapWords map_{signed_map().values};
#else
    const float* map_ = signed_map().values;
#endif
};

#if defined(__AVX512BW__)
inline constexpr int kRowPairs = kLanes / 2;

// Words of sixteen rows become registers of two rows each, whose halves of words are one row's and the other's.
inline void pair_rows(const uint8_t* group, __m512i (&pairs)[kRowPairs]) {
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
    __m512i a[kRowPairs];
    for (int w = 0; w < kRowPairs; w += 2) {
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

#endif

// Words of kLanes rows of a group.
inline WordVec load_words(const uint8_t* src) {
    WordVec words;
    std::memcpy(&words, src, sizeof(words));
    return words;
}

// Calls body(row, column, values) for kLanes columns at a time of all rows of a group, whose scales are given.
template <typename Body>
void decode_rows(const uint8_t* group, const float* scales, Body body) {
    for (int64_t first = 0; first < kTurnedRows; first += kLanes) {
#if defined(__AVX512BW__)
        __m512i pairs[kRowPairs];
        pair_rows(group + first * kWordBytes, pairs);
        for (int64_t r = 0; r < kLanes; ++r) {
            const CodeBook book(scales[first + r]);
            const auto halves = reinterpret_cast<WordVec>(pairs[r / 2]) >> (r % 2 * 16);
            for (int i = 0; i < 4; ++i) {
                body(first + r, 16 * i, book(halves, i));
            }
        }
#else
        alignas(64) float words[kRowWords][kLanes];
        alignas(64) float rows[kLanes][kRowWords];
        for (int64_t w = 0; w < kRowWords; ++w) {
            store(words[w], as_float(load_words(group + (w * kTurnedRows + first) * kWordBytes)));
        }
        for (int64_t w = 0; w < kRowWords; w += kLanes) {
            transpose_square(words[w], kLanes, rows[0] + w, kRowWords);
        }
        for (int64_t r = 0; r < kLanes; ++r) {
            const CodeBook book(scales[first + r]);
            // A row's words are, by halves, its columns in turn.
            for (int64_t col = 0; col < 2 * kRowWords; col += kLanes) {
                const WordVec indices = load_half_words(rows[r] + col / 2);
                for (int i = 0; i < 4; ++i) {
                    body(first + r, 16 * i + col, book(indices, i));
                }
            }
        }
#endif
    }
}
