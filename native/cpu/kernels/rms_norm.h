// RMS norm. The sum of squares runs in lanes of float32; the weight's gradient is summed per thread over a fixed share
// of the rows and then over the threads, so that it is the same at every run.

template <typename T>
void norm_forward_of(const T* x, const float* weight, int64_t rows, int64_t cols, float eps, T* y, float* inv_rms) {
    const int workers = threads_for(rows * cols);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t r = 0; r < rows; ++r) {
        const T* row = x + r * cols;
        double sum = 0.0;
        for (int64_t first = 0; first < cols; first += 1024) {
            float part = 0.0F;
            const int64_t end = min_of(first + 1024, cols);
#pragma omp simd reduction(+ : part)
            for (int64_t c = first; c < end; ++c) {
                const float value = to_float(row[c]);
                part += value * value;
            }
            sum += static_cast<double>(part);
        }
        const auto inverse =
            static_cast<float>(1.0 / std::sqrt(sum / static_cast<double>(cols) + static_cast<double>(eps)));
        if (inv_rms != nullptr) {
            inv_rms[r] = inverse;
        }
        for (int64_t c = 0; c < cols; ++c) {
            y[r * cols + c] = from_float<T>(to_float(row[c]) * inverse * weight[c]);
        }
    }
}

inline void rms_norm_forward(nibble_dtype dtype, const void* x, const float* weight, int64_t rows, int64_t cols,
                             float eps, void* y, float* inv_rms) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        norm_forward_of(static_cast<const T*>(x), weight, rows, cols, eps, static_cast<T*>(y), inv_rms);
    });
}

template <typename T>
void norm_backward_of(const T* x, const float* weight, const float* inv_rms, const T* dy, int64_t rows, int64_t cols,
                      T* dx, float* dweight) {
    const int workers = threads_for(rows * cols);
    Scratch partial(dweight == nullptr ? 0 : workers * cols * static_cast<int64_t>(sizeof(float)));
    auto* sums = partial.as<float>();
    if (dweight != nullptr) {
        std::memset(sums, 0, sizeof(float) * static_cast<size_t>(workers * cols));
    }
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t r = 0; r < rows; ++r) {
        const T* in = x + r * cols;
        const T* out = dy + r * cols;
        const float inverse = inv_rms[r];
        float dot = 0.0F;
#pragma omp simd reduction(+ : dot)
        for (int64_t c = 0; c < cols; ++c) {
            dot += to_float(out[c]) * weight[c] * to_float(in[c]);
        }
        const float shared = dot * inverse * inverse * inverse / static_cast<float>(cols);
        for (int64_t c = 0; c < cols; ++c) {
            dx[r * cols + c] = from_float<T>(to_float(out[c]) * weight[c] * inverse - to_float(in[c]) * shared);
        }
        if (dweight != nullptr) {
            float* own = sums + omp_get_thread_num() * cols;
            for (int64_t c = 0; c < cols; ++c) {
                own[c] += to_float(out[c]) * to_float(in[c]) * inverse;
            }
        }
    }
    if (dweight == nullptr) {
        return;
    }
    for (int64_t c = 0; c < cols; ++c) {
        float sum = 0.0F;
        for (int worker = 0; worker < workers; ++worker) {
            sum += sums[worker * cols + c];
        }
        dweight[c] = sum;
    }
}

inline void rms_norm_backward(nibble_dtype dtype, const void* x, const float* weight, const float* inv_rms,
                              const void* dy, int64_t rows, int64_t cols, void* dx, float* dweight) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        norm_backward_of(static_cast<const T*>(x), weight, inv_rms, static_cast<const T*>(dy), rows, cols,
                         static_cast<T*>(dx), dweight);
    });
}
