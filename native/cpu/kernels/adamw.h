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

// The largest magnitude of what was added. By bits, so that whatever is not finite is larger, and its magnitude NaN.
class LargestMagnitude {
  public:
    void add(Vec value) {
        const IntVec bits = reinterpret_cast<IntVec>(value) & 0x7FFFFFFF;
        bits_ = bits > bits_ ? bits : bits_;
    }

    float get() const {
#if defined(__AVX512F__)
        const int32_t bits = _mm512_reduce_max_epi32(reinterpret_cast<__m512i>(bits_));
#else
        int32_t bits = 0;
        for (int lane = 0; lane < kLanes; ++lane) {
            bits = bits_[lane] > bits ? bits_[lane] : bits;
        }
#endif
        const float largest = as_float(static_cast<uint32_t>(bits));
        return largest + largest * 0.0F;
    }

  private:
    IntVec bits_{};
};

// One of the two moments as codes and a scale for each block.
template <bool kSigned>
class Moment {
  public:
#if defined(__AVX512BW__)
    explicit Moment(const DynamicMap& map) : map_(map.values), nearest_(map) {}
#else
    explicit Moment(const DynamicMap& map) : map_(map.values), nearest_(map.nearest) {}
#endif

    // Of one block, still without its scale.
    void decode(const uint8_t* codes, int64_t count, float* values) const {
#if defined(__AVX512BW__)
        for (int64_t i = 0; i < count; i += 4 * kLanes) {
            Vec parts[4];
            map_.look_up(load_codes(codes + i, count - i), parts);
            for (int part = 0; part < 4; ++part) {
                store(values + i + part * kLanes, parts[part]);
            }
        }
#else
        for (int64_t i = 0; i < count; ++i) {
            values[i] = map_[codes[i]];
        }
#endif
    }

    // One block's points on the grid of dispatch.h, in an order that encode() knows.
    static void to_grid(const float* values, float scale, int64_t count, uint16_t* points) {
        if (!(scale > 0.0F)) {
            for (int64_t i = 0; i < NIBBLE_ABSMAX_BLOCK; ++i) {
                points[i] = static_cast<uint16_t>(code_grid_index(0.0F));
            }
            return;
        }
#if defined(__AVX512BW__)
        NearestCodes<kSigned>::to_grid(values, scale, count, points);
#else
        for (int64_t i = 0; i < count; ++i) {
            points[i] = static_cast<uint16_t>(code_grid_index(values[i] / scale));
        }
#endif
    }

    void encode(const uint16_t* points, int64_t count, uint8_t* codes) const {
#if defined(__AVX512BW__)
        for (int64_t i = 0; i < count; i += 64) {
            const __mmask64 there = count - i < 64 ? (uint64_t{1} << (count - i)) - 1 : ~uint64_t{0};
            _mm512_mask_storeu_epi8(codes + i, there, nearest_.find(points + i));
        }
#else
        for (int64_t i = 0; i < count; ++i) {
            codes[i] = nearest_[points[i]];
        }
#endif
    }

  private:
#if defined(__AVX512BW__)
    // 64 of them, or as many as there are. Masks where none is needed take a twentieth of the whole step.
    static __m512i load_codes(const uint8_t* codes, int64_t count) {
        return count >= 64 ? _mm512_loadu_si512(codes) : _mm512_maskz_loadu_epi8((uint64_t{1} << count) - 1, codes);
    }

    MapWords map_;
    NearestCodes<kSigned> nearest_;
#else
    const float* map_;
    const uint8_t* nearest_;
#endif
};

// writer_of(begin) gives for a block what takes its new values: void(int64_t i, Vec value, auto lanes).
template <typename P, typename G, typename WriterOf>
void adamw_8bit_blocks(const AdamWFactors& factors, const P* param, const G* grad, uint8_t* codes1, uint8_t* codes2,
                       float* absmax1, float* absmax2, int64_t count, const WriterOf& writer_of) {
    static const Moment<true> first(signed_map());
    static const Moment<false> second(unsigned_map());
    const int workers = threads_for(count);
#pragma omp parallel num_threads(workers)
    {
        alignas(64) float moment1[NIBBLE_ABSMAX_BLOCK];
        alignas(64) float moment2[NIBBLE_ABSMAX_BLOCK];
        alignas(64) uint16_t points1[NIBBLE_ABSMAX_BLOCK];
        alignas(64) uint16_t points2[NIBBLE_ABSMAX_BLOCK];
        const auto length_of = [&](int64_t block) {
            return min_of(NIBBLE_ABSMAX_BLOCK, count - block * NIBBLE_ABSMAX_BLOCK);
        };
        int64_t before = -1;
        const auto encode = [&](const auto& moment, const uint16_t* points, uint8_t* codes) {
            if (before >= 0) {
                moment.encode(points, length_of(before), codes + before * NIBBLE_ABSMAX_BLOCK);
            }
        };
#pragma omp for schedule(static) nowait
        for (int64_t block = 0; block < ceil_div(count, NIBBLE_ABSMAX_BLOCK); ++block) {
            const int64_t begin = block * NIBBLE_ABSMAX_BLOCK;
            const int64_t length = length_of(block);
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
            const float scale1 = absmax1[block];
            const float scale2 = absmax2[block];
            LargestMagnitude largest1;
            LargestMagnitude largest2;
            each_register(0, length, [&](int64_t i, auto lanes) {
                const Vec p = load_as_float(param + begin + i, lanes);
                const Vec g = load_as_float(grad + begin + i, lanes);
                Vec m = load_as_float(moment1 + i, lanes) * scale1;
                Vec v = load_as_float(moment2 + i, lanes) * scale2;
                write(i, adamw_update(factors, p, g, m, v), lanes);
                store_from_float(moment1 + i, m, lanes);
                store_from_float(moment2 + i, v, lanes);
                largest1.add(m);
                largest2.add(v);
            });
            // While this block's scales are awaited the codes of the one before are found; their look-ups and the
            // divisions by the scales run side by side.
            absmax1[block] = largest1.get();
            absmax2[block] = largest2.get();
            encode(first, points1, codes1);
            first.to_grid(moment1, absmax1[block], length, points1);
            encode(second, points2, codes2);
            second.to_grid(moment2, absmax2[block], length, points2);
            before = block;
        }
        encode(first, points1, codes1);
        encode(second, points2, codes2);
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
