// Element types, their conversion to and from float32, vectors of floats, scratch memory and exp.

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

inline Vec broadcast(float value) {
    return value - Vec{};
}
inline Vec load(const float* src) {
    return *reinterpret_cast<const Vec*>(src);
}
inline void store(float* dst, Vec value) {
    *reinterpret_cast<Vec*>(dst) = value;
}

// Memory for one call, aligned to a cache line; throws std::bad_alloc.
class Scratch {
  public:
    explicit Scratch(int64_t bytes) : data_(allocate_block(static_cast<size_t>(bytes))) {
        if (data_ == nullptr) {
            throw std::bad_alloc();
        }
    }
    ~Scratch() { release_block(data_); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    template <typename T>
    T* as() {
        return static_cast<T*>(data_);
    }

  private:
    void* data_;
};

inline int64_t min_of(int64_t a, int64_t b) {
    return a < b ? a : b;
}
inline int64_t ceil_div(int64_t a, int64_t b) {
    return (a + b - 1) / b;
}

// e^x to about 1 ulp in a form that compilers vectorise: 2^n times a polynomial on [-ln2/2, ln2/2].
inline float fast_exp(float x) {
    const float clamped = x < -87.33654F ? -87.33654F : (x > 88.72283F ? 88.72283F : x);
    const float shifted = clamped * 1.44269504F + 12582912.0F;  // Adding 1.5 * 2^23 rounds to an integer.
    const float n = shifted - 12582912.0F;
    const float r = (clamped - n * 0.693359375F) + n * 2.12194440e-4F;
    float p = 1.9875691500e-4F;
    p = p * r + 1.3981999507e-3F;
    p = p * r + 8.3334519073e-3F;
    p = p * r + 4.1665795894e-2F;
    p = p * r + 1.6666665459e-1F;
    p = p * r + 5.0000001201e-1F;
    p = p * r * r + r + 1.0F;
    // In two factors, so that 2^128 of the largest arguments does not overflow on its own.
    int32_t exponent;
    std::memcpy(&exponent, &shifted, sizeof(exponent));
    exponent -= 0x4B400000;  // The bits of 1.5 * 2^23: what is left is n, and some number where x is NaN, as p is.
    const int32_t half = exponent >> 1;
    const int32_t bits1 = (half + 127) << 23;
    const int32_t bits2 = (exponent - half + 127) << 23;
    float scale1;
    float scale2;
    std::memcpy(&scale1, &bits1, sizeof(scale1));
    std::memcpy(&scale2, &bits2, sizeof(scale2));
    return p * scale1 * scale2;
}
