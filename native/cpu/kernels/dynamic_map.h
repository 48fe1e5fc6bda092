// The 8-bit dynamic maps by look-ups of words in registers, 32 codes at a time. Without such instructions kernels read
// the tables of dispatch.h.

#if defined(__AVX512BW__)
// The words that 32 indices name in a table of kCount, of which registers hold 32 each.
template <int kCount>
__m512i look_up_words(const __m512i* table, __m512i index) {
    if constexpr (kCount == 64) {
        return _mm512_permutex2var_epi16(table[0], index, table[1]);
    } else {
        const __mmask32 upper = _mm512_test_epi16_mask(index, _mm512_set1_epi16(kCount / 2));
        return _mm512_mask_blend_epi16(upper, look_up_words<kCount / 2>(table, index),
                                       look_up_words<kCount / 2>(table + kCount / 64, index));
    }
}

// A map of 256 floats as registers of their lower and upper words, which look-ups of words go through: a gather takes
// four times as long.
class MapWords {
  public:
    explicit MapWords(const float* map) {
        alignas(64) uint16_t even[32];
        for (int i = 0; i < 32; ++i) {
            even[i] = static_cast<uint16_t>(2 * i);
        }
        const __m512i first = _mm512_load_si512(even);
        const __m512i second = _mm512_add_epi16(first, _mm512_set1_epi16(1));
        for (int i = 0; i < 8; ++i) {
            const __m512i left = _mm512_loadu_si512(map + 32 * i);
            const __m512i right = _mm512_loadu_si512(map + 32 * i + 16);
            low_[i] = _mm512_permutex2var_epi16(left, first, right);
            high_[i] = _mm512_permutex2var_epi16(left, second, right);
        }
    }

    // The floats of 32 codes.
    void look_up(__m256i codes, Vec& front, Vec& back) const {
        // In the order that leaves consecutive floats behind when lower and upper words are interleaved within lanes.
        const __m512i index =
            _mm512_cvtepu8_epi16(_mm256_permutevar8x32_epi32(codes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
        const __m512i low = look_up_words<256>(low_, index);
        const __m512i high = look_up_words<256>(high_, index);
        front = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low, high));
        back = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low, high));
    }

  private:
    __m512i low_[8];
    __m512i high_[8];
};

// The other way: the nearest code of a point on the grid of dispatch.h. A decade's codes begin at even distances, a
// fifth of the next decade's: over the points from zero on, codes rise along lines of which the least is the one that
// counts. Half a code above, a line is at the code or the next one, which the point where that begins decides. The
// first points, where decades are too short for lines, have a table.
template <bool kSigned>
class NearestCodes {
  public:
    explicit NearestCodes(const DynamicMap& map) {
        uint16_t near[kNear];
        for (int point = 0; point < kNear; ++point) {
            near[point] = static_cast<uint16_t>(map.nearest[kZeroPoint + point] - kZeroCode);
        }
        std::memcpy(near_, near, sizeof(near));
        uint16_t starts[kCodes] = {};  // The last code of the signed map has the place of zero, which no line names.
        for (int code = 1; code <= kLastCode; ++code) {
            starts[code % kCodes] = static_cast<uint16_t>(map.starts[kZeroCode + code] - kZeroPoint);
        }
        std::memcpy(starts_, starts, sizeof(starts));
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
        const __m512i codes =
            _mm512_packus_epi16(codes_of(_mm512_load_si512(points)), codes_of(_mm512_load_si512(points + 2 * kLanes)));
        return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), codes);
    }

  private:
    static constexpr int kZeroCode = kSigned ? 127 : 0;
    // The first point that is not negative, where the halves of the signed map mirror each other; of the unsigned map
    // the one before it, whose code all negative ones have.
    static constexpr int kZeroPoint = kSigned ? 32768 : 32767;
    static constexpr int kLastCode = 255 - kZeroCode;
    static constexpr int kCodes = kSigned ? 128 : 256;
    static constexpr int kNear = 64;
    static constexpr int kLines = 3;
    static constexpr int kPartBits = 3;  // Lines are reckoned in eighths of a code.
    static constexpr int kParts = 1 << kPartBits;

    static __m512i to_grid(Vec value) { return _mm512_cvttps_epi32((value + 1.0F) * kCodeGridScale + 0.5F); }

    __m512i codes_of(__m512i points) const {
        if constexpr (kSigned) {
            const __m512i above = _mm512_sub_epi16(points, _mm512_set1_epi16(static_cast<int16_t>(kZeroPoint)));
            const __m512i sign = _mm512_srai_epi16(above, 15);
            const __m512i codes = codes_from_zero(_mm512_xor_si512(above, sign));
            const __m512i zero = _mm512_sub_epi16(_mm512_set1_epi16(kZeroCode), sign);
            return _mm512_add_epi16(_mm512_xor_si512(codes, sign), zero);
        } else {
            return codes_from_zero(_mm512_subs_epu16(points, _mm512_set1_epi16(kZeroPoint)));
        }
    }

    __m512i codes_from_zero(__m512i points) const {
        const auto line = [&](int i) { return _mm512_add_epi16(_mm512_mulhi_epu16(points, slopes_[i]), offsets_[i]); };
        const __m512i parts = _mm512_min_epu16(line(0), _mm512_min_epu16(line(1), line(2)));
        const __m512i next = _mm512_srli_epi16(parts, kPartBits);
        const __mmask32 earlier = _mm512_cmplt_epu16_mask(points, look_up_words<kCodes>(starts_, next));
        const __m512i far = _mm512_mask_sub_epi16(next, earlier, next, _mm512_set1_epi16(1));
        const __mmask32 near = _mm512_cmplt_epu16_mask(points, _mm512_set1_epi16(kNear));
        return _mm512_mask_mov_epi16(far, near, look_up_words<kNear>(near_, points));
    }

    // From zero on, both codes and points.
    __m512i near_[kNear / 32];     // The codes of the first points.
    __m512i starts_[kCodes / 32];  // Where each code begins.
    __m512i slopes_[kLines];
    __m512i offsets_[kLines];
};
#endif
