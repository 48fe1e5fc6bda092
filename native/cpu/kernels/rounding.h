// Stochastic rounding to bfloat16: adding sixteen random bits to those that will be discarded carries into the kept
// ones with a probability of the discarded fraction.

// The random bits of a run's elements, below 2^16, from the run that begins with `element` on.
inline void rounding_bits(const RoundingName& name, int64_t element, uint32_t (&bits)[kRoundingRun]) {
    const auto index = static_cast<uint64_t>((name.first + element) / kRoundingRun * 16);
    const uint32_t layer = kRoundingLayer | name.parameter;
#if defined(__AVX512F__)
    __m512i words[4];
    philox_sixteen(index, name.step, layer, name.seed, words);
    for (int w = 0; w < 4; ++w) {
        _mm512_storeu_si512(bits + 32 * w, _mm512_and_si512(words[w], _mm512_set1_epi32(0xFFFF)));
        _mm512_storeu_si512(bits + 32 * w + 16, _mm512_srli_epi32(words[w], 16));
    }
#else
    for (int lane = 0; lane < 16; ++lane) {
        const PhiloxBlock block = philox(index + static_cast<uint64_t>(lane), name.step, layer, name.seed);
        for (int w = 0; w < 4; ++w) {
            bits[32 * w + lane] = block.word[w] & 0xFFFFU;
            bits[32 * w + 16 + lane] = block.word[w] >> 16;
        }
    }
#endif
}

// Writes values rounded by random bits; what is not finite stays what it is.
inline void store_rounded(BFloat16* dst, Vec value, const uint32_t* random, int64_t count) {
    WordVec bits;
    std::memcpy(&bits, random, sizeof(bits));
    const WordVec near = (as_bits(value) + bits) >> 16;
    const WordVec quiet = (as_bits(value) >> 16) | 0x40U;  // As in from_float.
    const auto rounded = __builtin_convertvector(value == value ? near : quiet, HalfWordVec);
    std::memcpy(dst, &rounded, sizeof(BFloat16) * static_cast<size_t>(count));
}
inline void store_rounded(BFloat16* dst, Vec value, const uint32_t* random, AllLanes) {
    store_rounded(dst, value, random, kLanes);
}
