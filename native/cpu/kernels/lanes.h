// Loops over arrays, one register of lanes at a time. A body takes the index of its first element and how many lanes
// count: AllLanes, or a number at the end of the array, which load_as_float and store_from_float take as well. Every
// element goes through the same instructions wherever it lies, so results do not depend on how an array is shared out.

struct AllLanes {};

template <typename T>
Vec load_as_float(const T* src, AllLanes) {
    return load_as_float(src);
}
template <typename T>
void store_from_float(T* dst, Vec value, AllLanes) {
    store_from_float(dst, value);
}

// Body: void(int64_t i, auto lanes), over [first, end).
template <typename Body>
void each_register(int64_t first, int64_t end, const Body& body) {
    int64_t i = first;
    for (; i + kLanes <= end; i += kLanes) {
        body(i, AllLanes{});
    }
    if (i < end) {
        body(i, end - i);
    }
}

// The same over [0, count), shared out among threads.
template <typename Body>
void each_register_in_parallel(int64_t count, const Body& body) {
    const int workers = threads_for(count / kLanes);
#pragma omp parallel num_threads(workers)
    {
        const int64_t share = ceil_div(ceil_div(count, omp_get_num_threads()), kLanes) * kLanes;
        const int64_t first = min_of(omp_get_thread_num() * share, count);
        each_register(first, min_of(first + share, count), body);
    }
}

inline float sum_lanes(Vec value) {
#if defined(__AVX512F__)
    return _mm512_reduce_add_ps(value);
#else
    float sum = 0.0F;
    for (int lane = 0; lane < kLanes; ++lane) {
        sum += value[lane];
    }
    return sum;
#endif
}
// Body: Vec(int64_t i, auto lanes). Their sum over [0, count), in four chains that hide the latency of an addition and
// keep each short.
template <typename Body>
float sum_registers(int64_t count, const Body& body) {
    constexpr int kChains = 4;
    Vec sums[kChains] = {};
    const int64_t whole = count / (kChains * kLanes) * (kChains * kLanes);
    for (int64_t i = 0; i < whole; i += kChains * kLanes) {
        for (int chain = 0; chain < kChains; ++chain) {
            sums[chain] += body(i + chain * kLanes, AllLanes{});
        }
    }
    each_register(whole, count, [&](int64_t i, auto lanes) { sums[0] += body(i, lanes); });
    return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// NaN with any value that is not finite, which a comparison would pass over.
template <typename T>
float largest_magnitude(const T* values, int64_t count) {
    Vec largest{};
    Vec poison{};
    each_register(0, count, [&](int64_t i, auto lanes) {
        const Vec value = load_as_float(values + i, lanes);
        largest = larger(larger(value, -value), largest);
        poison += value * 0.0F;
    });
    float result = 0.0F;
    for (int lane = 0; lane < kLanes; ++lane) {
        result = larger(largest[lane], result);
    }
    return result + sum_lanes(poison);
}
