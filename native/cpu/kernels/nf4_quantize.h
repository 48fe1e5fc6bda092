// NF4 quantisation: each element of a block goes to the nearest of 16 values, found by comparing with the 15 midpoints.

inline IntVec nearest_nf4(Vec value) {
    IntVec code{};
    for (int i = 0; i < 15; ++i) {
        code -= value > 0.5F * (nf4_code[i] + nf4_code[i + 1]);  // True is -1.
    }
    return code;
}

template <typename T>
void quantize_block(const T* src, int64_t count, uint8_t* packed, float* absmax) {
    *absmax = largest_magnitude(src, count);
    // Divided, not multiplied by 1 / absmax, which is infinite for a subnormal scale.
    const float divisor = *absmax > 0.0F ? *absmax : 1.0F;
    int32_t codes[NIBBLE_NF4_BLOCK + 1];
    each_register(0, count, [&](int64_t i, auto lanes) {
        const IntVec code = nearest_nf4(load_as_float(src + i, lanes) / divisor);
        std::memcpy(codes + i, &code, sizeof(code));
    });
    codes[count] = 0;  // The partner of an odd count's last element.
    for (int64_t pair = 0; pair < ceil_div(count, 2); ++pair) {
        packed[pair] = static_cast<uint8_t>(codes[2 * pair] << 4 | codes[2 * pair + 1]);
    }
}

inline void nf4_quantize(nibble_dtype dtype, const void* src, int64_t count, uint8_t* packed, float* absmax) {
    with_type(dtype, [&](auto type) {
        const auto* values = static_cast<const decltype(type)*>(src);
        const int workers = threads_for(count);
#pragma omp parallel for schedule(static) num_threads(workers)
        for (int64_t block = 0; block < ceil_div(count, NIBBLE_NF4_BLOCK); ++block) {
            const int64_t first = block * NIBBLE_NF4_BLOCK;
            quantize_block(values + first, min_of(NIBBLE_NF4_BLOCK, count - first), packed + first / 2, absmax + block);
        }
    });
}
