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

// Which of `count` elements from flat index `first` on dropout keeps.
inline void kept_elements(const nibble_lora& lora, int64_t first, int64_t count, bool* kept) {
    const auto threshold = static_cast<uint64_t>(static_cast<double>(lora.dropout) * 4294967296.0);
    for (int64_t i = 0; i < count;) {
        const auto index = static_cast<uint64_t>(first + i);
        const PhiloxBlock block = philox(index / 4, lora.step, lora.layer, lora.seed);
        for (uint64_t word = index % 4; word < 4 && i < count; ++word, ++i) {
            kept[i] = block.word[word] >= threshold;
        }
    }
}

// What kept elements are multiplied by.
inline float dropout_scale(const nibble_lora& lora) {
    return 1.0F / (1.0F - lora.dropout);
}
