// Element types, their conversion to and from float32, vectors of floats, and exp.

// bfloat16: the upper half of a float32, rounded to nearest even.
struct BFloat16 {
    uint16_t bits;
};

using Half = _Float16;

inline float to_float(float value) {
    return value;
}
inline float to_float(Half value) {
    return static_cast<float>(value);
}
inline float to_float(BFloat16 value) {
    const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
    float result;
    std::memcpy(&result, &bits, sizeof(result));
    return result;
}

template <typename T>
T from_float(float value);

template <>
inline float from_float<float>(float value) {
    return value;
}

template <>
inline Half from_float<Half>(float value) {
    return static_cast<Half>(value);
}

template <>
inline BFloat16 from_float<BFloat16>(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    // NaN stays NaN: rounding could carry its mantissa away into infinity.
    const uint32_t rounded = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
    const uint32_t quiet = (bits >> 16) | 0x40U;
    return {static_cast<uint16_t>(value == value ? rounded : quiet)};
}

// Calls body with a value of the element type that dtype names.
template <typename Body>
void with_type(nibble_dtype dtype, Body&& body) {
    switch (dtype) {
        case NIBBLE_F32:
            return body(float{});
        case NIBBLE_BF16:
            return body(BFloat16{});
        case NIBBLE_F16:
            return body(Half{});
    }
}

// As many floats as one register holds; arithmetic on it is element-wise (GCC vector extension).
#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#elif defined(__AVX2__)
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif
typedef float Vec __attribute__((vector_size(kLanes * sizeof(float)), aligned(alignof(float)), may_alias));
typedef int32_t IntVec __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Vec broadcast(float value) {
    return value - Vec{};
}
inline Vec load(const float* src) {
    return *reinterpret_cast<const Vec*>(src);
}
inline void store(float* dst, Vec value) {
    *reinterpret_cast<Vec*>(dst) = value;
}

// As many elements of any type as one register holds floats, read as floats and written back rounded to nearest even.
typedef uint32_t WordVec __attribute__((vector_size(kLanes * sizeof(uint32_t))));
typedef uint16_t HalfWordVec __attribute__((vector_size(kLanes * sizeof(uint16_t))));

inline Vec load_as_float(const float* src) {
    return load(src);
}
inline void store_from_float(float* dst, Vec value) {
    store(dst, value);
}

// Half words, each as a word.
inline WordVec load_half_words(const void* src) {
#if defined(__AVX512F__)
    return reinterpret_cast<WordVec>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(src))));
#elif defined(__AVX2__)
    return reinterpret_cast<WordVec>(_mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(src))));
#else
    HalfWordVec halves;
    std::memcpy(&halves, src, sizeof(halves));
    return __builtin_convertvector(halves, WordVec);
#endif
}

inline Vec load_as_float(const BFloat16* src) {
    return reinterpret_cast<Vec>(load_half_words(src) << 16);
}
inline void store_from_float(BFloat16* dst, Vec value) {
#if defined(__AVX512BF16__)
    // Results below the smallest normal number, about 1e-38, become zero.
    const __m256bh rounded = _mm512_cvtneps_pbh(value);
#else
    const auto bits = reinterpret_cast<WordVec>(value);
    const WordVec nearest = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
    const WordVec quiet = (bits >> 16) | 0x40U;  // As in from_float.
    const auto rounded = __builtin_convertvector(value == value ? nearest : quiet, HalfWordVec);
#endif
    std::memcpy(dst, &rounded, sizeof(rounded));
}

inline Vec load_as_float(const Half* src) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(src)));
#elif defined(__AVX2__)
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(src)));
#else
    Vec value;
    for (int i = 0; i < kLanes; ++i) {
        value[i] = to_float(src[i]);
    }
    return value;
#endif
}
inline void store_from_float(Half* dst, Vec value) {
#if defined(__AVX512F__)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(dst), _mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(dst), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
#else
    for (int i = 0; i < kLanes; ++i) {
        dst[i] = from_float<Half>(value[i]);
    }
#endif
}

// The first `count` lanes only; those past them are read as zero and not written.
template <typename T>
Vec load_as_float(const T* src, int64_t count) {
    T lanes[kLanes] = {};
    std::memcpy(lanes, src, sizeof(T) * static_cast<size_t>(count));
    return load_as_float(lanes);
}
template <typename T>
void store_from_float(T* dst, Vec value, int64_t count) {
    T lanes[kLanes];
    store_from_float(lanes, value);
    std::memcpy(dst, lanes, sizeof(T) * static_cast<size_t>(count));
}

inline int64_t min_of(int64_t a, int64_t b) {
    return a < b ? a : b;
}
inline int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

// The larger and the smaller of each pair; the second where either is not a number.
inline float larger(float a, float b) {
    return a > b ? a : b;
}
inline float smaller(float a, float b) {
    return a < b ? a : b;
}
inline Vec larger(Vec a, Vec b) {
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_max_ps(a, b);
#else
    return a > b ? a : b;
#endif
}
inline Vec smaller(Vec a, Vec b) {
#if defined(__AVX512F__)
    return _mm512_min_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_min_ps(a, b);
#else
    return a < b ? a : b;
#endif
}

inline uint32_t as_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    return bits;
}
inline float as_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
}
inline WordVec as_bits(Vec value) {
    return reinterpret_cast<WordVec>(value);
}
inline Vec as_float(WordVec bits) {
    return reinterpret_cast<Vec>(bits);
}

// e^x to about 1 ulp for x up to 88, the value at 88.37 from there on; of a float in a form that compilers vectorise,
// or of a Vec. 2^n times a polynomial on [-ln2/2, ln2/2].
template <typename Floats>
Floats fast_exp(Floats x) {
    const Floats clamped = larger(Floats{} - 87.33654F, smaller(Floats{} + 88.37F, x));
    const Floats shifted = clamped * 1.44269504F + 12582912.0F;  // Adding 1.5 * 2^23 rounds to an integer.
    const Floats n = shifted - 12582912.0F;
    const Floats r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
    // Estrin's scheme: pairs of terms, so that the longest chain of dependent operations is short.
    const Floats square = r * r;
    const Floats low = square * (r * 1.6666665459e-1F + 5.0000001201e-1F) + (r + 1.0F);
    const Floats middle = r * 8.3334519073e-3F + 4.1665795894e-2F;
    const Floats high = r * 1.9875691500e-4F + 1.3981999507e-3F;
    const Floats p = square * square * (square * high + middle) + low;
    // The lowest nine bits of `shifted` are n, those of 2^n an exponent; where x is NaN p is, whatever the factor.
    return p * as_float((as_bits(shifted) << 23) + as_bits(Floats{} + 1.0F));
}
