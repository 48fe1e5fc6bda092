// Runs of consecutive elements of a matrix, as the elements that are multiplied: float, or BFloat16 where the
// instruction set multiplies it. Whatever packs a matrix for a product reads it through these.

// A block of NF4. Runs of rows that are no multiple of it begin inside blocks and take the slow way.
inline constexpr int64_t kRun = NIBBLE_NF4_BLOCK;
static_assert(kRun == kDropRun);

// What values of type T are multiplied as.
#if defined(__AVX512BF16__)
template <typename T>
using Multiplied = std::conditional_t<std::is_same_v<T, BFloat16>, BFloat16, float>;
#else
template <typename T>
using Multiplied = float;
#endif

inline nibble_weight dense(const void* data, int64_t rows, int64_t cols, nibble_dtype dtype) {
    nibble_weight view{};
    view.rows = rows;
    view.cols = cols;
    view.format = dtype;  // nibble_dtype and the dense nibble_formats share their numbers.
    view.data = data;
    return view;
}

template <typename T>
constexpr nibble_dtype dtype_of() {
    return std::is_same_v<T, float> ? NIBBLE_F32 : std::is_same_v<T, BFloat16> ? NIBBLE_BF16 : NIBBLE_F16;
}

#if defined(__AVX512BF16__)
struct Run {
    __m512i low;   // Elements 0 to 31.
    __m512i high;  // 32 to 63.
};

// The block's own code book, scaled and rounded, is a table of 16 words; every nibble looks its word up.
inline Run decode_run(const uint8_t* bytes, float scale) {
    const __m512 scaled = _mm512_mul_ps(_mm512_loadu_ps(nf4_code), _mm512_set1_ps(scale));
    // Twice, since a look-up takes five bits and the fifth is the next nibble's.
    const __m512i table = _mm512_broadcast_i64x4(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(scaled)));
    // In the order that leaves consecutive elements behind when even and odd ones are interleaved within lanes.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i packed =
        _mm256_permutevar8x32_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)), order);
    const __m512i pairs = _mm512_cvtepu8_epi16(packed);
    const __m512i even = _mm512_permutexvar_epi16(_mm512_srli_epi16(pairs, 4), table);
    const __m512i odd = _mm512_permutexvar_epi16(pairs, table);
    return {_mm512_unpacklo_epi16(even, odd), _mm512_unpackhi_epi16(even, odd)};
}

// The code book as words to look up, twice, since a look-up takes five bits.
inline __m512i nf4_code_words() {
    return _mm512_broadcast_i64x4(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(nf4_code))));
}
#endif

template <typename E>
class RunReader {
  public:
    using Element = E;

    explicit RunReader(const nibble_weight& matrix) : matrix_(matrix), scales_(matrix) {}

    const nibble_weight& matrix() const { return matrix_; }

    // Elements [first, first + count), count <= kRun, of the flattened matrix into dst[kRun], zeros behind them.
    void read(int64_t first, int64_t count, Element* dst) const {
        if (count < kRun) {
            return read_part(first, count, dst);
        }
        if (matrix_.format == NIBBLE_WEIGHT_NF4 && first % kRun == 0) {
            read_block(first / kRun, dst);
        } else if (matrix_.format == kOwnFormat) {
            std::memcpy(dst, static_cast<const Element*>(matrix_.data) + first, sizeof(Element) * kRun);
        } else {
            read_part(first, kRun, dst);
        }
    }

    // The elements from `first` on where they lie as they are read, else null.
    const Element* in_place(int64_t first) const {
        return matrix_.format == kOwnFormat ? static_cast<const Element*>(matrix_.data) + first : nullptr;
    }

    // Asks for memory that will be read soon.
    void prefetch(int64_t first, int64_t count) const {
        const auto* bytes = static_cast<const char*>(matrix_.data);
        const int64_t bits = matrix_.format == NIBBLE_WEIGHT_NF4 ? 4 : matrix_.format == NIBBLE_WEIGHT_F32 ? 32 : 16;
        for (int64_t at = first * bits / 8; at < (first + count) * bits / 8; at += 64) {
            __builtin_prefetch(bytes + at);
        }
    }

  private:
    static constexpr int32_t kOwnFormat = sizeof(Element) == sizeof(float) ? NIBBLE_WEIGHT_F32 : NIBBLE_WEIGHT_BF16;

    void read_part(int64_t first, int64_t count, Element* dst) const {
        std::memset(static_cast<void*>(dst), 0, sizeof(Element) * kRun);
        if (matrix_.format == kOwnFormat) {
            copy_part(static_cast<const Element*>(matrix_.data) + first, count, dst);
        } else if constexpr (sizeof(Element) == sizeof(float)) {
            decode(matrix_, first, count, dst);
        } else {
            float values[kRun];
            decode(matrix_, first, count, values);
            convert_from_float(values, count, dst);
        }
    }

    // By registers: rows as short as an adapter's rank would take longer to call for than to copy.
    static void copy_part(const Element* src, int64_t count, Element* dst) {
        constexpr int64_t kStep = kLanes * sizeof(float) / sizeof(Element);
        int64_t i = 0;
        for (; i + kStep <= count; i += kStep) {
            std::memcpy(dst + i, src + i, sizeof(Element) * kStep);
        }
        if (i < count) {
            std::memcpy(dst + i, src + i, sizeof(Element) * static_cast<size_t>(count - i));
        }
    }

    void read_block(int64_t index, Element* dst) const {
        const auto* bytes = static_cast<const uint8_t*>(matrix_.data) + index * (kRun / 2);
#if defined(__AVX512BF16__)
        if constexpr (sizeof(Element) != sizeof(float)) {
            const Run run = decode_run(bytes, scales_[index]);
            _mm512_storeu_si512(dst, run.low);
            _mm512_storeu_si512(dst + kRun / 2, run.high);
            return;
        }
#endif
        if constexpr (sizeof(Element) == sizeof(float)) {
            decode_block(bytes, scales_[index], dst);
        }
    }

    nibble_weight matrix_;
    BlockScales scales_;
};

// What a reader that can tell says of a run, or null.
template <typename Reader>
const typename Reader::Element* in_place(const Reader& reader, int64_t first, int64_t count) {
    if constexpr (requires { reader.in_place(first); }) {
        return count == kRun ? reader.in_place(first) : nullptr;
    }
    return nullptr;
}

// A matrix with the dropped elements of an adapter's input set to zero; the others are not yet scaled.
template <typename E>
class DroppedReader {
  public:
    using Element = E;

    DroppedReader(const nibble_weight& matrix, const nibble_lora& lora) : reader_(matrix), lora_(lora) {}

    const nibble_weight& matrix() const { return reader_.matrix(); }

    void prefetch(int64_t first, int64_t count) const { reader_.prefetch(first, count); }

    void read(int64_t first, int64_t count, Element* dst) const {
        reader_.read(first, count, dst);
        uint16_t kept[kDropRun];
        kept_elements(lora_, first, count, kept);
        for (int64_t i = 0; i < count; ++i) {
            keep(kept[i], dst[i]);
        }
    }

  private:
    static void keep(uint16_t mask, float& value) { value = mask != 0 ? value : 0.0F; }
    static void keep(uint16_t mask, BFloat16& value) { value.bits &= mask; }

    RunReader<Element> reader_;
    const nibble_lora& lora_;
};
