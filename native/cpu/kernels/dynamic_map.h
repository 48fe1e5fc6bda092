// The 8-bit dynamic maps by look-ups of words in registers, 32 codes at a time. Without such instructions kernels read
// the tables of dispatch.h.

#if defined(__AVX512BW__)
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
        const __m512i low = look_up(low_, index);
        const __m512i high = look_up(high_, index);
        front = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low, high));
        back = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low, high));
    }

  private:
    static __m512i look_up(const __m512i* words, __m512i index) {
        const __mmask32 odd = _mm512_test_epi16_mask(index, _mm512_set1_epi16(64));
        const __mmask32 upper = _mm512_test_epi16_mask(index, _mm512_set1_epi16(128));
        const auto half = [&](int h) {
            return _mm512_mask_blend_epi16(odd, _mm512_permutex2var_epi16(words[4 * h], index, words[4 * h + 1]),
                                           _mm512_permutex2var_epi16(words[4 * h + 2], index, words[4 * h + 3]));
        };
        return _mm512_mask_blend_epi16(upper, half(0), half(1));
    }

    __m512i low_[8];
    __m512i high_[8];
};

// The other way: the nearest code of a value on the grid of dispatch.h, by a binary search among the grid points where
// codes begin.
class NearestCodes {
  public:
    // starts[code]: the first grid point of this code or a later one.
    explicit NearestCodes(const uint16_t* starts) {
        for (int level = 0; level < kLevels; ++level) {
            for (int prefix = 0; prefix < 1 << level; ++prefix) {
                pivots_[level][prefix] = starts[(2 * prefix + 1) << (kLevels - 1 - level)];
            }
        }
    }

    // Values that are searched for side by side: a search waits for each of its steps.
    static constexpr int64_t kValues = 128;

    // The codes of values[kValues] / scale, in [-1, 1], as registers of 32.
    void find(const float* values, float scale, __m256i* codes) const {
        constexpr int kSearches = kValues / (2 * kLanes);
        __m512i points[kSearches];
        __m512i prefix[kSearches] = {};
        for (int i = 0; i < kSearches; ++i) {
            // Packing takes turns between the two within lanes; the order of the codes is mended at the end.
            points[i] = _mm512_packus_epi32(grid_points(load(values + 2 * i * kLanes) / scale),
                                            grid_points(load(values + (2 * i + 1) * kLanes) / scale));
        }
#pragma GCC unroll 8
        for (int level = 0; level < kLevels; ++level) {
            for (int i = 0; i < kSearches; ++i) {
                const __mmask32 later = _mm512_cmpge_epu16_mask(points[i], pivot(level, prefix[i]));
                const __m512i twice = _mm512_add_epi16(prefix[i], prefix[i]);
                prefix[i] = _mm512_mask_add_epi16(twice, later, twice, _mm512_set1_epi16(1));
            }
        }
        for (int i = 0; i < kSearches; ++i) {
            codes[i] =
                _mm256_permutevar8x32_epi32(_mm512_cvtepi16_epi8(prefix[i]), _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7));
        }
    }

  private:
    static constexpr int kLevels = 8;

    static __m512i grid_points(Vec value) {
        return _mm512_cvttps_epi32((value + 1.0F) * kCodeGridScale + 0.5F);
    }

    __m512i pivot(int level, __m512i prefix) const {
        const auto words = [&](int i) { return _mm512_load_si512(pivots_[level] + 32 * i); };
        if (level < 6) {
            return _mm512_permutexvar_epi16(prefix, words(0));
        }
        const __m512i low = _mm512_permutex2var_epi16(words(0), prefix, words(1));
        if (level == 6) {
            return low;
        }
        const __m512i high = _mm512_permutex2var_epi16(words(2), prefix, words(3));
        return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(prefix, _mm512_set1_epi16(64)), low, high);
    }

    alignas(64) uint16_t pivots_[kLevels][1 << (kLevels - 1)] = {};
};
#endif
