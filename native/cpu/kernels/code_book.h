// NF4's code book in registers: as many nibbles as a register has lanes are looked up at once.

class CodeBook {
  public:
    // Times the scale of a block, or as it is.
    explicit CodeBook(float scale = 1.0F) {
        for (int part = 0; part < kParts; ++part) {
            parts_[part] = load(nf4_code + part * kLanes) * scale;
        }
    }

    // The values of nibble i of each word, counted from below.
    Vec operator()(WordVec words, int i) const {
#if defined(__AVX512F__)
        return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(words >> (4 * i)), parts_[0]);
#elif defined(__AVX2__)
        const auto index = reinterpret_cast<__m256i>(words >> (4 * i));  // Whose lower three bits are looked up.
        // Bit 3, moved to the sign, picks the half of the code book.
        const auto pick = reinterpret_cast<__m256>(words << (28 - 4 * i));
        return _mm256_blendv_ps(_mm256_permutevar8x32_ps(parts_[0], index), _mm256_permutevar8x32_ps(parts_[1], index),
                                pick);
#else
        Vec values;
        for (int lane = 0; lane < kLanes; ++lane) {
            const auto index = words[lane] >> (4 * i) & 15;
            values[lane] = parts_[index / kLanes][index % kLanes];
        }
        return values;
#endif
    }

  private:
    static constexpr int kParts = 16 / kLanes;
    Vec parts_[kParts];
};
