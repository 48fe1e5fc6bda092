#include "peers.h"

#include <dlfcn.h>

#include <stdexcept>

namespace nibble::bench {

std::optional<CuBlas> CuBlas::find(const char* given) {
    for (const char* name : {given, "libcublas.so.13", "libcublas.so.12", "libcublas.so"}) {
        void* library = name == nullptr ? nullptr : dlopen(name, RTLD_NOW | RTLD_LOCAL);
        if (library == nullptr) {
            continue;
        }
        CuBlas result;
        const auto create = reinterpret_cast<int (*)(void**)>(dlsym(library, "cublasCreate_v2"));
        result.gemm_ex_ = reinterpret_cast<decltype(result.gemm_ex_)>(dlsym(library, "cublasGemmEx"));
        if (create != nullptr && result.gemm_ex_ != nullptr && create(&result.handle_) == 0) {
            return result;
        }
    }
    return std::nullopt;
}

// cuBLAS is column-major: what it calls A is the weight, and its result y^T.
void CuBlas::gemm(int transpose_a, int rows, int columns, int depth, const void* a, int lda, const void* b, int ldb,
                  void* c) const {
    constexpr int kBf16 = 14;       // CUDA_R_16BF
    constexpr int kCompute32 = 68;  // CUBLAS_COMPUTE_32F
    constexpr int kDefault = -1;    // CUBLAS_GEMM_DEFAULT
    const float one = 1.0F;
    const float zero = 0.0F;
    const int status = gemm_ex_(handle_, transpose_a, 0, rows, columns, depth, &one, a, kBf16, lda, b, kBf16, ldb,
                                &zero, c, kBf16, rows, kCompute32, kDefault);
    if (status != 0) {
        throw std::runtime_error("cublasGemmEx gave status " + std::to_string(status));
    }
}

void CuBlas::forward(const void* x, const void* w, void* y, int m, int n, int k) const {
    gemm(1, n, m, k, w, k, x, k, y);
}

void CuBlas::backward(const void* dy, const void* w, void* dx, int m, int n, int k) const {
    gemm(0, k, m, n, w, k, dy, n, dx);
}

std::optional<BitsAndBytes> BitsAndBytes::find(const char* path) {
    void* library = path == nullptr ? nullptr : dlopen(path, RTLD_NOW | RTLD_LOCAL);
    BitsAndBytes result;
    if (library != nullptr) {
        result.gemm_ = reinterpret_cast<decltype(result.gemm_)>(dlsym(library, "cgemm_4bit_bf16"));
    }
    return result.gemm_ == nullptr ? std::nullopt : std::optional(result);
}

void BitsAndBytes::forward(const void* x, const uint8_t* w, const float* absmax, void* y, int m, int n, int k) const {
    constexpr int kBlock = 64;
    constexpr int kNf4 = 2;
    gemm_(x, w, absmax, nullptr, nullptr, nullptr, y, nullptr, m, n, k, kBlock, kNf4, nullptr);
}

}  // namespace nibble::bench
