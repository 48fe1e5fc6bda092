// Rotary embedding. A pair is read before it is written, so x and y may be the same buffer; turning back is turning by
// the negative angle.

template <typename T>
void rope_of(const T* x, const float* cos, const float* sin, int64_t tokens, int64_t heads, int64_t head_dim,
             int64_t rotary_dim, bool inverse, T* y) {
    const int64_t half = rotary_dim / 2;
    const float sign = inverse ? -1.0F : 1.0F;
    const int workers = threads_for(tokens * heads * head_dim / kLanes);
#pragma omp parallel for collapse(2) schedule(static) num_threads(workers)
    for (int64_t token = 0; token < tokens; ++token) {
        for (int64_t head = 0; head < heads; ++head) {
            const T* in = x + (token * heads + head) * head_dim;
            T* out = y + (token * heads + head) * head_dim;
            each_register(0, half, [&](int64_t i, auto lanes) {
                const Vec c = load_as_float(cos + token * half + i, lanes);
                const Vec s = load_as_float(sin + token * half + i, lanes) * sign;
                const Vec first = load_as_float(in + i, lanes);
                const Vec second = load_as_float(in + half + i, lanes);
                store_from_float(out + i, first * c - second * s, lanes);
                store_from_float(out + half + i, second * c + first * s, lanes);
            });
            for (int64_t i = rotary_dim; i < head_dim; ++i) {
                out[i] = in[i];
            }
        }
    }
}

inline void rope(nibble_dtype dtype, const void* x, const float* cos, const float* sin, int64_t tokens, int64_t heads,
                 int64_t head_dim, int64_t rotary_dim, bool inverse, void* y) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        rope_of(static_cast<const T*>(x), cos, sin, tokens, heads, head_dim, rotary_dim, inverse, static_cast<T*>(y));
    });
}
