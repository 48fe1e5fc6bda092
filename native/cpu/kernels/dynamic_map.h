// The 8-bit dynamic maps by look-ups in registers, 64 codes at a time. Without such instructions kernels read the
// tables of dispatch.h.

#if defined(__AVX512BW__)
// A table of kCount words, 128 or 256. Look-ups of bytes, where there are any, give twice as many as those of words.
template <int kCount>
class WordTable {
  public:
    explicit WordTable(const uint16_t* words) {
#if defined(__AVX512VBMI__)
        uint8_t bytes[2][kCount];
        for (int i = 0; i < kCount; ++i) {
            bytes[0][i] = static_cast<uint8_t>(words[i]);
            bytes[1][i] = static_cast<uint8_t>(words[i] >> 8);
        }
        std::memcpy(table_, bytes, sizeof(bytes));
#else
        std::memcpy(table_, words, sizeof(table_));
#endif
    }

    // The words that 64 bytes name: in front those of the first eight bytes of each lane.
    void look_up(__m512i index, __m512i& front, __m512i& back) const {
#if defined(__AVX512VBMI__)
        const __m512i low = bytes<kCount>(table_, index);
        const __m512i high = bytes<kCount>(table_ + kCount / 64, index);
        front = _mm512_unpacklo_epi8(low, high);
        back = _mm512_unpackhi_epi8(low, high);
#else
        front = words<kCount>(table_, _mm512_unpacklo_epi8(index, _mm512_setzero_si512()));
        back = words<kCount>(table_, _mm512_unpackhi_epi8(index, _mm512_setzero_si512()));
#endif
    }

  private:
#if defined(__AVX512VBMI__)
    template <int kSize>
    static __m512i bytes(const __m512i* table, __m512i index) {
        if constexpr (kSize == 128) {
            return _mm512_permutex2var_epi8(table[0], index, table[1]);
        } else {
            return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), bytes<128>(table, index),
                                          bytes<128>(table + 2, index));
        }
    }
#else
    template <int kSize>
    static __m512i words(const __m512i* table, __m512i index) {
        if constexpr (kSize == 64) {
            return _mm512_permutex2var_epi16(table[0], index, table[1]);
        } else {
            const __mmask32 upper = _mm512_test_epi16_mask(index, _mm512_set1_epi16(kSize / 2));
            return _mm512_mask_blend_epi16(upper, words<kSize / 2>(table, index),
                                           words<kSize / 2>(table + kSize / 64, index));
        }
    }
#endif

    __m512i table_[kCount / 32];
};

// A map of 256 floats as tables of their lower and upper words: a gather takes several times as long.
class MapWords {
  public:
    explicit MapWords(const float* map) : low_(Words(map, 0).get), high_(Words(map, 16).get) {}

    // The floats of 64 codes.
    void look_up(__m512i codes, Vec (&values)[4]) const {
        // In the order that leaves consecutive floats behind when their parts are interleaved within lanes.
        const __m512i index =
            _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), codes);
        __m512i low[2];
        __m512i high[2];
        low_.look_up(index, low[0], low[1]);
        high_.look_up(index, high[0], high[1]);
        for (int half = 0; half < 2; ++half) {
            values[2 * half] = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low[half], high[half]));
            values[2 * half + 1] = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low[half], high[half]));
        }
    }

    // Of 32.
    void look_up(__m256i codes, Vec& front, Vec& back) const {
        Vec values[4];
        look_up(_mm512_castsi256_si512(codes), values);
        front = values[0];
        back = values[1];
    }

  private:
    struct Words {
        Words(const float* map, int shift) {
            for (int i = 0; i < 256; ++i) {
                uint32_t bits;
                std::memcpy(&bits, map + i, sizeof(bits));
                get[i] = static_cast<uint16_t>(bits >> shift);
            }
        }

        uint16_t get[256];
    };

    WordTable<256> low_;
    WordTable<256> high_;
};

// The other way: the nearest code of a point on the grid of dispatch.h. A decade's codes begin at even distances, a
// fifth of the next decade's: over the points from zero on, codes rise along lines of which the least is the one that
// counts. Half a code above, a line is at the code or the next one, which the point where that begins decides. The
// first points, where decades are too short for lines, have a table.
template <bool kSigned>
class NearestCodes {
  public:
    explicit NearestCodes(const DynamicMap& map) : starts_(Starts(map).get) {
        for (int point = 0; point < kNear; ++point) {
            near_[point] = static_cast<NearCode>(map.nearest[kZeroPoint + point] - kZeroCode);
        }
        // A decade's codes, the first of them, where it begins, and how far it is from one code to the next.
        int codes = kCodes / 2;
        int first = kLastCode - codes;
        double begin = 0.1 * kCodeGridScale + (kCodeGridScale - kZeroPoint);
        double distance = 0.9 * kCodeGridScale / codes;
        const auto word = [](double value) { return _mm512_set1_epi16(static_cast<int16_t>(static_cast<int>(value))); };
        for (int line = 0; line < kLines; ++line) {
            slopes_[line] = word(65536 * kParts / distance);
            offsets_[line] = word(kParts * (first + 0.5 - begin / distance));
            codes /= 2;
            first -= codes;
            begin /= 10;
            distance /= 5;
        }
    }

    // The grid points of values[count] / scale, in [-1, 1]: the same 64 as find() has codes for, in an order of their
    // own.
    static void to_grid(const float* values, float scale, int64_t count, uint16_t* points) {
        for (int64_t i = 0; i < count; i += 2 * kLanes) {
            // Packing takes turns between the two within lanes; find() puts the codes in order.
            _mm512_store_si512(points + i, _mm512_packus_epi32(to_grid(load(values + i) / scale),
                                                               to_grid(load(values + i + kLanes) / scale)));
        }
    }

    // Apart from the above: a chain of both would be longer than what the processor looks ahead.
    __m512i find(const uint16_t* points) const {
        __m512i signs[2];
        __m512i from_zero[2];
        __m512i next[2];
        for (int half = 0; half < 2; ++half) {
            const __m512i point = _mm512_load_si512(points + half * 2 * kLanes);
            signs[half] = _mm512_srai_epi16(point, 15);  // Set for those from zero on.
            from_zero[half] = kSigned ? _mm512_ternarylogic_epi64(point, signs[half], _mm512_set1_epi16(0x7FFF), 0x96)
                                      : _mm512_and_si512(point, _mm512_set1_epi16(0x7FFF));
            next[half] = next_code(from_zero[half]);
        }
        __m512i starts[2];
        starts_.look_up(_mm512_packus_epi16(next[0], next[1]), starts[0], starts[1]);
        for (int half = 0; half < 2; ++half) {
            const __mmask32 earlier = _mm512_cmplt_epu16_mask(from_zero[half], starts[half]);
            next[half] = _mm512_mask_sub_epi16(next[half], earlier, next[half], _mm512_set1_epi16(1));
        }
        __m512i codes = _mm512_packus_epi16(next[0], next[1]);
        const __m512i near = _mm512_packus_epi16(from_zero[0], from_zero[1]);
        codes = _mm512_mask_mov_epi8(codes, _mm512_cmplt_epu8_mask(near, _mm512_set1_epi8(kNear)), near_codes(near));
        if constexpr (kSigned) {
            // Saturated, since the negative half lacks its last code.
            const __m512i zero = _mm512_set1_epi8(kZeroCode);
            const __mmask64 above = _mm512_movepi8_mask(_mm512_packs_epi16(signs[0], signs[1]));
            codes = _mm512_mask_add_epi8(_mm512_subs_epu8(zero, codes), above, zero, codes);
        }
        return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), codes);
    }

  private:
    static constexpr int kZeroCode = kSigned ? 127 : 0;
    // The first point that is not negative, where the halves of the signed map mirror each other. The unsigned map's
    // values are never negative.
    static constexpr int kZeroPoint = 32768;
    static constexpr int kLastCode = 255 - kZeroCode;
    static constexpr int kCodes = kSigned ? 128 : 256;
    static constexpr int kNear = 64;
    static constexpr int kLines = 3;
    static constexpr int kPartBits = 3;  // Lines are reckoned in eighths of a code.
    static constexpr int kParts = 1 << kPartBits;

    static __m512i to_grid(Vec value) { return _mm512_cvttps_epi32((value + 1.0F) * kCodeGridScale + 0.5F); }

    // Of the nearest code and the one after it, either.
    __m512i next_code(__m512i points) const {
        const auto line = [&](int i) { return _mm512_add_epi16(_mm512_mulhi_epu16(points, slopes_[i]), offsets_[i]); };
        return _mm512_srli_epi16(_mm512_min_epu16(line(0), _mm512_min_epu16(line(1), line(2))), kPartBits);
    }

#if defined(__AVX512VBMI__)
    using NearCode = uint8_t;

    __m512i near_codes(__m512i points) const {
        return _mm512_permutexvar_epi8(points, _mm512_load_si512(near_));
    }
#else
    using NearCode = uint16_t;

    __m512i near_codes(__m512i points) const {
        const auto words = [&](__m512i index) {
            return _mm512_permutex2var_epi16(_mm512_load_si512(near_), index, _mm512_load_si512(near_ + kNear / 2));
        };
        return _mm512_packus_epi16(words(_mm512_unpacklo_epi8(points, _mm512_setzero_si512())),
                                   words(_mm512_unpackhi_epi8(points, _mm512_setzero_si512())));
    }
#endif

    struct Starts {
        explicit Starts(const DynamicMap& map) {
            // The last code of the signed map has the place of zero, which no line names.
            for (int code = 1; code <= kLastCode; ++code) {
                get[code % kCodes] = static_cast<uint16_t>(map.starts[kZeroCode + code] - kZeroPoint);
            }
        }

        uint16_t get[kCodes] = {};
    };

    // From zero on, both codes and points.
    alignas(64) NearCode near_[kNear];  // The codes of the first points.
    WordTable<kCodes> starts_;          // Where each code begins.
    __m512i slopes_[kLines];
    __m512i offsets_[kLines];
};
#endif
