// Philox4x32-10 (Salmon et al., SC'11): four random words from a counter and a key, so that any dropout mask can be
// made again from its name instead of being stored.

struct PhiloxBlock {
    uint32_t word[4];
};

inline PhiloxBlock philox(uint64_t index, uint32_t step, uint32_t layer, uint64_t seed) {
    uint32_t c0 = static_cast<uint32_t>(index);
    uint32_t c1 = static_cast<uint32_t>(index >> 32);
    uint32_t c2 = step;
    uint32_t c3 = layer;
    uint32_t k0 = static_cast<uint32_t>(seed);
    uint32_t k1 = static_cast<uint32_t>(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        const uint64_t p0 = 0xD2511F53ULL * c0;
        const uint64_t p1 = 0xCD9E8D57ULL * c2;
        c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
        c1 = static_cast<uint32_t>(p1);
        c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
        c3 = static_cast<uint32_t>(p0);
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    return {{c0, c1, c2, c3}};
}

// Dropout decides over runs of this many elements at once: what blocks of 16 counters give.
inline constexpr int64_t kDropRun = 64;

#if defined(__AVX512F__)
// Products of every 32-bit lane with one factor, their lower and upper halves apart.
inline void multiply_words(__m512i value, __m512i factor, __m512i& low, __m512i& high) {
    const __m512i even = _mm512_mul_epu32(value, factor);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(value, 32), factor);
    low = _mm512_mask_mov_epi32(even, 0xAAAA, _mm512_slli_epi64(odd, 32));
    high = _mm512_mask_mov_epi32(_mm512_srli_epi64(even, 32), 0xAAAA, odd);
}

// The blocks of sixteen consecutive counters; lane i of word w has block i's.
inline void philox_sixteen(uint64_t index, uint32_t step, uint32_t layer, uint64_t seed, __m512i (&words)[4]) {
    const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const auto word = [](uint64_t value) { return _mm512_set1_epi32(static_cast<int>(value)); };
    __m512i c0 = _mm512_add_epi32(word(index), lanes);
    const __mmask16 carries = _mm512_cmplt_epu32_mask(c0, word(index));
    __m512i c1 = _mm512_mask_add_epi32(word(index >> 32), carries, word(index >> 32), word(1));
    __m512i c2 = word(step);
    __m512i c3 = word(layer);
    __m512i k0 = word(seed);
    __m512i k1 = word(seed >> 32);
    for (int round = 0; round < 10; ++round) {
        __m512i low0;
        __m512i high0;
        __m512i low2;
        __m512i high2;
        multiply_words(c0, word(0xD2511F53U), low0, high0);
        multiply_words(c2, word(0xCD9E8D57U), low2, high2);
        c0 = _mm512_xor_si512(_mm512_xor_si512(high2, c1), k0);
        c1 = low2;
        c2 = _mm512_xor_si512(_mm512_xor_si512(high0, c3), k1);
        c3 = low0;
        k0 = _mm512_add_epi32(k0, word(0x9E3779B9U));
        k1 = _mm512_add_epi32(k1, word(0xBB67AE85U));
    }
    words[0] = c0;
    words[1] = c1;
    words[2] = c2;
    words[3] = c3;
}

// For a run that begins with a block, and a threshold below 2^32: all bits set where the element is kept.
inline void kept_run(const nibble_lora& lora, uint64_t block, uint32_t threshold, uint16_t* kept) {
    __m512i words[4];
    philox_sixteen(block, lora.step, lora.layer, lora.seed, words);
    const auto word = [](uint32_t value) { return _mm512_set1_epi32(static_cast<int>(value)); };
    // Elements 4 i to 4 i + 3 of a run are the four words of counter i.
    const auto pair = [&](__m512i first, __m512i second) {
        const __m512i low = _mm512_maskz_mov_epi32(_mm512_cmpge_epu32_mask(first, word(threshold)), word(0x0000FFFFU));
        return _mm512_mask_or_epi32(low, _mm512_cmpge_epu32_mask(second, word(threshold)), low, word(0xFFFF0000U));
    };
    const __m512i front = pair(words[0], words[1]);
    const __m512i back = pair(words[2], words[3]);
    const __m512i low = _mm512_unpacklo_epi32(front, back);
    const __m512i high = _mm512_unpackhi_epi32(front, back);
    _mm512_storeu_si512(kept, _mm512_permutex2var_epi64(low, _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11), high));
    _mm512_storeu_si512(kept + 32, _mm512_permutex2var_epi64(low, _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15), high));
}
#endif

// Which of `count` <= kDropRun elements from flat index `first` on dropout keeps: all bits set, or none. Writes
// kDropRun of them.
inline void kept_elements(const nibble_lora& lora, int64_t first, int64_t count, uint16_t* kept) {
    const auto threshold = static_cast<uint64_t>(static_cast<double>(lora.dropout) * 4294967296.0);
#if defined(__AVX512F__)
    if (first % 4 == 0) {
        return kept_run(lora, static_cast<uint64_t>(first) / 4, static_cast<uint32_t>(threshold), kept);
    }
#endif
    for (int64_t i = 0; i < count;) {
        const auto index = static_cast<uint64_t>(first + i);
        const PhiloxBlock block = philox(index / 4, lora.step, lora.layer, lora.seed);
        for (uint64_t word = index % 4; word < 4 && i < count; ++word, ++i) {
            kept[i] = block.word[word] >= threshold ? 0xFFFF : 0;
        }
    }
}

// What kept elements are multiplied by.
inline float dropout_scale(const nibble_lora& lora) {
    return 1.0F / (1.0F - lora.dropout);
}
