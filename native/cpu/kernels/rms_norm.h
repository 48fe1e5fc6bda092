// RMS norm. Sums over a row run in lanes of float32; the weight's gradient is summed per thread over a fixed share
// of the rows and then over the threads, so that it is the same at every run.

template <typename T>
void norm_forward_of(const T* x, const T* update, const float* weight, int64_t rows, int64_t cols, float eps, T* sum,
                     T* y, float* inv_rms) {
    const int workers = threads_for(rows * cols / kLanes);
#pragma omp parallel for schedule(static) num_threads(workers)
    for (int64_t r = 0; r < rows; ++r) {
        const T* row = x + r * cols;
        if (update != nullptr) {
            T* total = sum + r * cols;
            each_register(0, cols, [&](int64_t c, auto lanes) {
                store_from_float(total + c, load_as_float(row + c, lanes) + load_as_float(update + r * cols + c, lanes),
                                 lanes);
            });
            row = total;
        }
        const float squares = sum_registers(cols, [&](int64_t c, auto lanes) {
            const Vec value = load_as_float(row + c, lanes);
            return value * value;
        });
        const auto inverse = static_cast<float>(
            1.0 / std::sqrt(static_cast<double>(squares) / static_cast<double>(cols) + static_cast<double>(eps)));
        if (inv_rms != nullptr) {
            inv_rms[r] = inverse;
        }
        each_register(0, cols, [&](int64_t c, auto lanes) {
            const Vec factor = inverse * load_as_float(weight + c, lanes);
            store_from_float(y + r * cols + c, load_as_float(row + c, lanes) * factor, lanes);
        });
    }
}

inline void rms_norm_forward(nibble_dtype dtype, const void* x, const void* update, const float* weight, int64_t rows,
                             int64_t cols, float eps, void* sum, void* y, float* inv_rms) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        norm_forward_of(static_cast<const T*>(x), static_cast<const T*>(update), weight, rows, cols, eps,
                        static_cast<T*>(sum), static_cast<T*>(y), inv_rms);
    });
}

template <typename T>
void norm_backward_of(const T* x, const float* weight, const float* inv_rms, const T* dy, const T* residual,
                      int64_t rows, int64_t cols, T* dx, float* dweight) {
    const int workers = threads_for(rows * cols / kLanes);
    // A page apart, or what is fetched ahead at the end of one thread's sums would be taken from the next thread.
    const int64_t stride = cols + 1024;
    Scratch partial(dweight == nullptr ? 0 : workers * stride * static_cast<int64_t>(sizeof(float)));
    auto* sums = partial.as<float>();
#pragma omp parallel num_threads(workers)
    {
        float* own = sums + omp_get_thread_num() * stride;
        if (dweight != nullptr) {
            std::memset(own, 0, sizeof(float) * static_cast<size_t>(cols));
        }
#pragma omp for schedule(static)
        for (int64_t r = 0; r < rows; ++r) {
            const T* in = x + r * cols;
            const T* out = dy + r * cols;
            const float inverse = inv_rms[r];
            const float dot = sum_registers(cols, [&](int64_t c, auto lanes) {
                return load_as_float(out + c, lanes) * load_as_float(weight + c, lanes) * load_as_float(in + c, lanes);
            });
            const float shared = dot * inverse * inverse * inverse / static_cast<float>(cols);
            each_register(0, cols, [&](int64_t c, auto lanes) {
                const Vec value = load_as_float(in + c, lanes);
                const Vec slope = load_as_float(out + c, lanes) * inverse;
                Vec gradient = slope * load_as_float(weight + c, lanes) - value * shared;
                if (residual != nullptr) {
                    gradient += load_as_float(residual + r * cols + c, lanes);
                }
                store_from_float(dx + r * cols + c, gradient, lanes);
                if (dweight != nullptr) {
                    store_from_float(own + c, load_as_float(own + c, lanes) + slope * value, lanes);
                }
            });
        }
    }
    if (dweight == nullptr) {
        return;
    }
    for (int64_t c = 0; c < cols; ++c) {
        float sum = 0.0F;
        for (int worker = 0; worker < workers; ++worker) {
            sum += sums[worker * stride + c];
        }
        dweight[c] = sum;
    }
}

inline void rms_norm_backward(nibble_dtype dtype, const void* x, const float* weight, const float* inv_rms,
                              const void* dy, const void* residual, int64_t rows, int64_t cols, void* dx,
                              float* dweight) {
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        norm_backward_of(static_cast<const T*>(x), weight, inv_rms, static_cast<const T*>(dy),
                         static_cast<const T*>(residual), rows, cols, static_cast<T*>(dx), dweight);
    });
}
