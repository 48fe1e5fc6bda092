// Reads any run of a weight's flattened elements, whatever its format, as the elements that are multiplied.

// The scales of NF4 blocks.
class BlockScales {
  public:
    explicit BlockScales(const nibble_weight& weight) : weight_(weight) {}

    float operator[](int64_t block) const {
        const bool turned = weight_.format == NIBBLE_WEIGHT_NF4_TURNED;
        const int64_t place = turned ? TurnedPlace(block, weight_.cols / NIBBLE_NF4_BLOCK).scale() : block;
        if (weight_.absmax != nullptr) {
            return weight_.absmax[place];
        }
        const auto index = static_cast<uint64_t>(block);  // Unsigned, so that the division is a shift.
        return map_[weight_.absmax_codes[place]] * weight_.nested_absmax[index / NIBBLE_ABSMAX_BLOCK] +
               weight_.absmax_offset;
    }

  private:
    nibble_weight weight_;
    const float* map_ = signed_map().values;
};

// A whole block of 64 from 32 bytes.
inline void decode_block(const uint8_t* bytes, float scale, float* dst) {
#if defined(__AVX512F__)
    const __m512 code = _mm512_mul_ps(_mm512_loadu_ps(nf4_code), _mm512_set1_ps(scale));
    const __m128i mask = _mm_set1_epi8(0x0F);
    for (int half = 0; half < 2; ++half) {
        const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + 16 * half));
        const __m128i high = _mm_and_si128(_mm_srli_epi16(packed, 4), mask);
        const __m128i low = _mm_and_si128(packed, mask);
        const __m128i first = _mm_unpacklo_epi8(high, low);
        const __m128i second = _mm_unpackhi_epi8(high, low);
        _mm512_storeu_ps(dst + 32 * half, _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(first), code));
        _mm512_storeu_ps(dst + 32 * half + 16, _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(second), code));
    }
#elif defined(__AVX2__)
    const __m256 factor = _mm256_set1_ps(scale);
    const __m256 code_low = _mm256_mul_ps(_mm256_loadu_ps(nf4_code), factor);
    const __m256 code_high = _mm256_mul_ps(_mm256_loadu_ps(nf4_code + 8), factor);
    const __m128i mask = _mm_set1_epi8(0x0F);
    for (int part = 0; part < 4; ++part) {
        const __m128i packed = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 8 * part));
        const __m128i high = _mm_and_si128(_mm_srli_epi16(packed, 4), mask);
        const __m128i nibbles = _mm_unpacklo_epi8(high, _mm_and_si128(packed, mask));
        for (int eight = 0; eight < 2; ++eight) {
            const __m256i index = _mm256_cvtepu8_epi32(eight == 0 ? nibbles : _mm_srli_si128(nibbles, 8));
            // Bit 3 of the index, moved to the sign, picks the half of the code book.
            const __m256 pick = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
            const __m256 value = _mm256_blendv_ps(_mm256_permutevar8x32_ps(code_low, index),
                                                  _mm256_permutevar8x32_ps(code_high, index), pick);
            _mm256_storeu_ps(dst + 16 * part + 8 * eight, value);
        }
    }
#else
    for (int i = 0; i < NIBBLE_NF4_BLOCK / 2; ++i) {
        dst[2 * i] = nf4_code[bytes[i] >> 4] * scale;
        dst[2 * i + 1] = nf4_code[bytes[i] & 15] * scale;
    }
#endif
}

// The 32 bytes of a block, in memory of the caller's where they lie apart.
inline const uint8_t* block_bytes(const nibble_weight& weight, int64_t block, uint8_t* apart) {
    const auto* bytes = static_cast<const uint8_t*>(weight.data);
    if (weight.format != NIBBLE_WEIGHT_NF4_TURNED) {
        return bytes + block * (NIBBLE_NF4_BLOCK / 2);
    }
    turn_block_back(bytes + TurnedPlace(block, weight.cols / NIBBLE_NF4_BLOCK).byte(), apart);
    return apart;
}

// A whole block of a weight, in either order.
inline void decode_block(const nibble_weight& weight, int64_t block, float scale, float* dst) {
    uint8_t apart[NIBBLE_NF4_BLOCK / 2];
    decode_block(block_bytes(weight, block, apart), scale, dst);
}

inline bool is_nf4(const nibble_weight& weight) {
    return weight.format == NIBBLE_WEIGHT_NF4 || weight.format == NIBBLE_WEIGHT_NF4_TURNED;
}

// Blocks run over the flattened tensor, so a row may begin inside one.
inline void decode_nf4(const nibble_weight& weight, int64_t first, int64_t count, float* dst) {
    const BlockScales scales(weight);
    const int64_t end = first + count;
    for (int64_t i = first; i < end;) {
        const int64_t block = i / NIBBLE_NF4_BLOCK;
        const int64_t block_end = (block + 1) * NIBBLE_NF4_BLOCK;
        const float scale = scales[block];
        if (i % NIBBLE_NF4_BLOCK == 0 && block_end <= end) {
            decode_block(weight, block, scale, dst + (i - first));
            i = block_end;
            continue;
        }
        uint8_t apart[NIBBLE_NF4_BLOCK / 2];
        const uint8_t* bytes = block_bytes(weight, block, apart);
        for (const int64_t stop = min_of(block_end, end); i < stop; ++i) {
            const uint8_t byte = bytes[i % NIBBLE_NF4_BLOCK / 2];
            dst[i - first] = nf4_code[i % 2 == 0 ? byte >> 4 : byte & 15] * scale;
        }
    }
}

template <typename T>
void convert_to_float(const T* src, int64_t count, float* dst) {
    each_register(0, count,
                  [&](int64_t i, auto lanes) { store_from_float(dst + i, load_as_float(src + i, lanes), lanes); });
}

template <typename T>
void convert_from_float(const float* src, int64_t count, T* dst) {
    each_register(0, count,
                  [&](int64_t i, auto lanes) { store_from_float(dst + i, load_as_float(src + i, lanes), lanes); });
}

// Elements [first, first + count) of the flattened weight.
inline void decode(const nibble_weight& weight, int64_t first, int64_t count, float* dst) {
    if (is_nf4(weight)) {
        return decode_nf4(weight, first, count, dst);
    }
    with_type(static_cast<nibble_dtype>(weight.format), [&](auto type) {
        convert_to_float(static_cast<const decltype(type)*>(weight.data) + first, count, dst);
    });
}

#if defined(__AVX512BF16__)
template <typename T>
void dequantize_turned(const TurnedWeight& weight, T* dst) {
    constexpr int64_t kAtOnce = 16;  // Blocks of a row.
    const int64_t cols = weight.blocks() * NIBBLE_NF4_BLOCK;
    const int workers = threads_for(weight.rows() * cols);
#pragma omp parallel for num_threads(workers)
    for (int64_t row = 0; row < weight.rows(); row += kTurnedRows) {
        for (int64_t first = 0; first < weight.blocks(); first += kAtOnce) {
            const int64_t count = min_of(kAtOnce, weight.blocks() - first);
            alignas(64) float scales[kAtOnce][kTurnedRows];
            weight.scales(row, first, count, scales[0], kTurnedRows);
            for (int64_t b = 0; b < count; ++b) {
                T* block = dst + row * cols + (first + b) * NIBBLE_NF4_BLOCK;
                decode_rows(weight.groups(row, first + b), scales[b], [&](int64_t r, int64_t col, Vec values) {
                    store_from_float(block + r * cols + col, values);
                });
            }
        }
    }
}
#endif

inline void dequantize(const nibble_weight& weight, nibble_dtype dtype, void* dst) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
#if defined(__AVX512BF16__)
        if (weight.format == NIBBLE_WEIGHT_NF4_TURNED) {
            return dequantize_turned(TurnedWeight(weight), static_cast<T*>(dst));
        }
#endif
        constexpr int64_t kRun = 64 * NIBBLE_NF4_BLOCK;
        const int64_t count = weight.rows * weight.cols;
        const int workers = threads_for(count);
#pragma omp parallel for num_threads(workers)
        for (int64_t run = 0; run < ceil_div(count, kRun); ++run) {
            alignas(64) float values[kRun];
            const int64_t length = min_of(kRun, count - run * kRun);
            decode(weight, run * kRun, length, values);
            convert_from_float(values, length, static_cast<T*>(dst) + run * kRun);
        }
    });
}
