// What a user would pick instead: cuBLAS on weights that are 16-bit already, bitsandbytes' 4-bit product. Both are
// loaded at run time, and simply not there where their libraries are not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace nibble::bench {

// y[M,N] = x[M,K] * W[N,K]^T and dx[M,K] = dy[M,N] * W[N,K], in bfloat16 with float32 sums.
class CuBlas {
  public:
    // The first of the usual names and the given one that loads.
    static std::optional<CuBlas> find(const char* given);

    void forward(const void* x, const void* w, void* y, int m, int n, int k) const;
    void backward(const void* dy, const void* w, void* dx, int m, int n, int k) const;

  private:
    void gemm(int transpose_a, int rows, int columns, int depth, const void* a, int lda, const void* b, int ldb,
              void* c) const;

    void* handle_ = nullptr;
    int (*gemm_ex_)(void*, int, int, int, int, int, const void*, const void*, int, int, const void*, int, int,
                    const void*, void*, int, int, int, int) = nullptr;
};

class BitsAndBytes {
  public:
    static std::optional<BitsAndBytes> find(const char* path);

    void forward(const void* x, const uint8_t* w, const float* absmax, void* y, int m, int n, int k) const;

  private:
    void (*gemm_)(const void*, const uint8_t*, const float*, const uint8_t*, const float*, const float*, void*,
                  const void*, int, int, int, int, int, void*) = nullptr;
};

}  // namespace nibble::bench
