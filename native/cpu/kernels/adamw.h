// AdamW with float32 or 8-bit block-wise states, one pass over parameter, gradient and states.

inline Vec square_root(Vec value) {
#if defined(__AVX512F__)
    return _mm512_sqrt_ps(value);
#elif defined(__AVX2__)
    return _mm256_sqrt_ps(value);
#else
    for (int i = 0; i < kLanes; ++i) {
        value[i] = std::sqrt(value[i]);
    }
    return value;
#endif
}

// Keeps a product from being fused with a sum, which not every instruction set could: all of them, and the GPUs, come
// to the same bits. GCC 12 takes a barrier of its own apart into scalars where registers have 512 bits.
inline Vec apart(Vec product) {
#if defined(__AVX512F__)
    asm("" : "+v"(product));
    return product;
#elif defined(__x86_64__)
    asm("" : "+x"(product));
    return product;
#else
    return __builtin_assoc_barrier(product);
#endif
}

// Moments are updated in place; returns the new parameter.
inline Vec adamw_update(const AdamWFactors& f, Vec param, Vec grad, Vec& moment1, Vec& moment2) {
    const Vec g = grad * f.grad_scale;
    moment1 = apart(f.beta1 * moment1) + apart(f.one_minus_beta1 * g);
    moment2 = apart(f.beta2 * moment2) + apart(f.one_minus_beta2 * g * g);
    return apart(param * f.kept) - f.step_size * moment1 / (apart(square_root(moment2) * f.root_factor) + f.epsilon);
}

inline void adamw_32bit(const AdamWFactors& factors, float* param, const float* grad, float* moment1, float* moment2,
                        int64_t count) {
    each_register_in_parallel(count, [&](int64_t i, auto lanes) {
        Vec m = load_as_float(moment1 + i, lanes);
        Vec v = load_as_float(moment2 + i, lanes);
        const Vec p = adamw_update(factors, load_as_float(param + i, lanes), load_as_float(grad + i, lanes), m, v);
        store_from_float(param + i, p, lanes);
        store_from_float(moment1 + i, m, lanes);
        store_from_float(moment2 + i, v, lanes);
    });
}

// Calls body with gradients of their type.
template <typename Body>
void with_gradients(nibble_dtype dtype, const void* grad, const Body& body) {
    return dtype == NIBBLE_F32 ? body(static_cast<const float*>(grad)) : body(static_cast<const BFloat16*>(grad));
}

inline void adamw_32bit_rounded(const AdamWFactors& factors, const RoundingName& rounding, uint16_t* param_bits,
                                nibble_dtype grad_dtype, const void* grads, float* moment1, float* moment2,
                                int64_t count) {
    auto* param = reinterpret_cast<BFloat16*>(param_bits);
    with_gradients(grad_dtype, grads, [&](const auto* grad) {
        const int workers = threads_for(count / kLanes);
#pragma omp parallel for schedule(static) num_threads(workers)
        for (int64_t run = 0; run < ceil_div(count, kRoundingRun); ++run) {
            const int64_t begin = run * kRoundingRun;
            uint32_t random[kRoundingRun];
            rounding_bits(rounding, begin, random);
            each_register(begin, min_of(begin + kRoundingRun, count), [&](int64_t i, auto lanes) {
                Vec m = load_as_float(moment1 + i, lanes);
                Vec v = load_as_float(moment2 + i, lanes);
                const Vec p =
                    adamw_update(factors, load_as_float(param + i, lanes), load_as_float(grad + i, lanes), m, v);
                store_rounded(param + i, p, random + (i - begin), lanes);
                store_from_float(moment1 + i, m, lanes);
                store_from_float(moment2 + i, v, lanes);
            });
        }
    });
}

// One of the two moments as codes and a scale for each block.
class Moment {
  public:
#if defined(__AVX512BW__)
    explicit Moment(const DynamicMap& map) : map_(map.values), nearest_(map.starts) {}
#else
    explicit Moment(const DynamicMap& map) : map_(map.values), nearest_(map.nearest) {}
#endif

    // Of one block, still without its scale.
    void decode(const uint8_t* codes, int64_t count, float* values) const {
#if defined(__AVX512BW__)
        for (int64_t i = 0; i < count; i += 2 * kLanes) {
            Vec front;
            Vec back;
            map_.look_up(_mm256_maskz_loadu_epi8(first_lanes(count - i), codes + i), front, back);
            store(values + i, front);
            store(values + i + kLanes, back);
        }
#else
        for (int64_t i = 0; i < count; ++i) {
            values[i] = map_[codes[i]];
        }
#endif
    }

    void encode(const float* values, int64_t count, uint8_t* codes, float* absmax) const {
        const float scale = largest_magnitude(values, count);
        *absmax = scale;
        if (!(scale > 0.0F)) {
            static constexpr float kZeros[NIBBLE_ABSMAX_BLOCK] = {};
            return quantize(kZeros, 1.0F, count, codes);
        }
        quantize(values, scale, count, codes);
    }

  private:
    void quantize(const float* values, float scale, int64_t count, uint8_t* codes) const {
#if defined(__AVX512BW__)
        for (int64_t i = 0; i < count; i += NearestCodes::kValues) {
            __m256i found[NearestCodes::kValues / 32];
            nearest_.find(values + i, scale, found);
            std::memcpy(codes + i, found, static_cast<size_t>(min_of(NearestCodes::kValues, count - i)));
        }
#else
        int32_t points[NIBBLE_ABSMAX_BLOCK];
        for (int64_t i = 0; i < count; ++i) {
            points[i] = code_grid_index(values[i] / scale);
        }
        for (int64_t i = 0; i < count; ++i) {
            codes[i] = nearest_[points[i]];
        }
#endif
    }

#if defined(__AVX512BW__)
    static __mmask32 first_lanes(int64_t count) {
        return count < 32 ? (1U << count) - 1 : ~0U;
    }

    MapWords map_;
    NearestCodes nearest_;
#else
    const float* map_;
    const uint8_t* nearest_;
#endif
};

// writer_of(begin) gives for a block what takes its new values: void(int64_t i, Vec value, auto lanes).
template <typename P, typename G, typename WriterOf>
void adamw_8bit_blocks(const AdamWFactors& factors, const P* param, const G* grad, uint8_t* codes1, uint8_t* codes2,
                       float* absmax1, float* absmax2, int64_t count, const WriterOf& writer_of) {
    const Moment first(signed_map());
    const Moment second(unsigned_map());
    const int workers = threads_for(count);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t block = 0; block < ceil_div(count, NIBBLE_ABSMAX_BLOCK); ++block) {
        float moment1[NIBBLE_ABSMAX_BLOCK];
        float moment2[NIBBLE_ABSMAX_BLOCK];
        const int64_t begin = block * NIBBLE_ABSMAX_BLOCK;
        const int64_t length = min_of(NIBBLE_ABSMAX_BLOCK, count - begin);
        // Asked for while the blocks before it are computed: one block is more than the processor looks ahead.
        constexpr int64_t kAhead = 2 * NIBBLE_ABSMAX_BLOCK;
        for (int64_t i = begin + kAhead; i < begin + kAhead + NIBBLE_ABSMAX_BLOCK; i += 64) {
            __builtin_prefetch(codes1 + i);
            __builtin_prefetch(codes2 + i);
            for (int64_t line = i; line < i + 64; line += 16) {
                __builtin_prefetch(param + line);
                __builtin_prefetch(grad + line);
            }
        }
        first.decode(codes1 + begin, length, moment1);
        second.decode(codes2 + begin, length, moment2);
        const auto write = writer_of(begin);
        each_register(0, length, [&](int64_t i, auto lanes) {
            const Vec p = load_as_float(param + begin + i, lanes);
            const Vec g = load_as_float(grad + begin + i, lanes);
            Vec m = load_as_float(moment1 + i, lanes) * absmax1[block];
            Vec v = load_as_float(moment2 + i, lanes) * absmax2[block];
            write(i, adamw_update(factors, p, g, m, v), lanes);
            store_from_float(moment1 + i, m, lanes);
            store_from_float(moment2 + i, v, lanes);
        });
        first.encode(moment1, length, codes1 + begin, absmax1 + block);
        second.encode(moment2, length, codes2 + begin, absmax2 + block);
    }
}

inline void adamw_8bit(const AdamWFactors& factors, float* param, const float* grad, uint8_t* codes1, uint8_t* codes2,
                       float* absmax1, float* absmax2, int64_t count) {
    adamw_8bit_blocks(factors, param, grad, codes1, codes2, absmax1, absmax2, count, [&](int64_t begin) {
        return [=](int64_t i, Vec value, auto lanes) { store_from_float(param + begin + i, value, lanes); };
    });
}

// The random bits of a block of 8-bit states, and where its new values go.
class RoundedBlock {
  public:
    RoundedBlock(const RoundingName& name, BFloat16* param, int64_t begin) : param_(param + begin) {
        static_assert(NIBBLE_ABSMAX_BLOCK == 2 * kRoundingRun);
        rounding_bits(name, begin, random_[0]);
        rounding_bits(name, begin + kRoundingRun, random_[1]);
    }

    template <typename Lanes>
    void operator()(int64_t i, Vec value, Lanes lanes) const {
        store_rounded(param_ + i, value, random_[i / kRoundingRun] + i % kRoundingRun, lanes);
    }

  private:
    BFloat16* param_;
    uint32_t random_[2][kRoundingRun];
};

inline void adamw_8bit_rounded(const AdamWFactors& factors, const RoundingName& rounding, uint16_t* param_bits,
                               nibble_dtype grad_dtype, const void* grads, uint8_t* codes1, uint8_t* codes2,
                               float* absmax1, float* absmax2, int64_t count) {
    auto* param = reinterpret_cast<BFloat16*>(param_bits);
    with_gradients(grad_dtype, grads, [&](const auto* grad) {
        adamw_8bit_blocks(factors, param, grad, codes1, codes2, absmax1, absmax2, count,
                          [&](int64_t begin) { return RoundedBlock(rounding, param, begin); });
    });
}
