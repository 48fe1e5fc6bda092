// Reads a weight as floats: any run of its flattened elements, or a turned one whole.

// The scales of NF4 blocks.
class BlockScales {
  public:
    explicit BlockScales(const nibble_weight& weight) : weight_(weight) {}

    float operator[](int64_t block) const {
        if (weight_.absmax != nullptr) {
            return weight_.absmax[block];
        }
        const auto index = static_cast<uint64_t>(block);  // Unsigned, so that the division is a shift.
        return map_[weight_.absmax_codes[block]] * weight_.nested_absmax[index / NIBBLE_ABSMAX_BLOCK] +
               weight_.absmax_offset;
    }

  private:
    nibble_weight weight_;
    const float* map_ = signed_map().values;
};

// A whole block of 64 from 32 bytes.
inline void decode_block(const uint8_t* bytes, float scale, float* dst) {
#if defined(__AVX2__)
    const CodeBook book(scale);
    const __m128i mask = _mm_set1_epi8(0x0F);
    for (int quarter = 0; quarter < 4; ++quarter) {
        const __m128i packed = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes + 8 * quarter));
        const __m128i high = _mm_and_si128(_mm_srli_epi16(packed, 4), mask);
        const __m128i nibbles = _mm_unpacklo_epi8(high, _mm_and_si128(packed, mask));
#if defined(__AVX512F__)
        store(dst + 16 * quarter, book(reinterpret_cast<WordVec>(_mm512_cvtepu8_epi32(nibbles)), 0));
#else
        const __m128i next = _mm_srli_si128(nibbles, 8);
        store(dst + 16 * quarter, book(reinterpret_cast<WordVec>(_mm256_cvtepu8_epi32(nibbles)), 0));
        store(dst + 16 * quarter + 8, book(reinterpret_cast<WordVec>(_mm256_cvtepu8_epi32(next)), 0));
#endif
    }
#else
    for (int i = 0; i < NIBBLE_NF4_BLOCK / 2; ++i) {
        dst[2 * i] = nf4_code[bytes[i] >> 4] * scale;
        dst[2 * i + 1] = nf4_code[bytes[i] & 15] * scale;
    }
#endif
}

// Blocks run over the flattened tensor, so a row may begin inside one.
inline void decode_nf4(const nibble_weight& weight, int64_t first, int64_t count, float* dst) {
    constexpr int64_t kBlockBytes = NIBBLE_NF4_BLOCK / 2;
    const BlockScales scales(weight);
    const auto* packed = static_cast<const uint8_t*>(weight.data);
    const int64_t end = first + count;
    for (int64_t i = first; i < end;) {
        const int64_t block = i / NIBBLE_NF4_BLOCK;
        const int64_t block_end = (block + 1) * NIBBLE_NF4_BLOCK;
        const float scale = scales[block];
        if (i % NIBBLE_NF4_BLOCK == 0 && block_end <= end) {
            decode_block(packed + block * kBlockBytes, scale, dst + (i - first));
            i = block_end;
            continue;
        }
        for (const int64_t stop = min_of(block_end, end); i < stop; ++i) {
            const uint8_t byte = packed[i / 2];
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
    if (weight.format == NIBBLE_WEIGHT_NF4) {
        return decode_nf4(weight, first, count, dst);
    }
    with_type(static_cast<nibble_dtype>(weight.format), [&](auto type) {
        convert_to_float(static_cast<const decltype(type)*>(weight.data) + first, count, dst);
    });
}

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
                decode_rows(weight.groups(row, first + b), scales[b],
                            [block, cols](int64_t r, int64_t col, Vec values) {
                                store_from_float(block + r * cols + col, values);
                            });
            }
        }
    }
}

inline void dequantize(const nibble_weight& weight, nibble_dtype dtype, void* dst) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        if (weight.format == NIBBLE_WEIGHT_NF4_TURNED) {
            return dequantize_turned(TurnedWeight(weight), static_cast<T*>(dst));
        }
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
