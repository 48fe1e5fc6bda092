// The table of operators that each instruction set of a CPU fills, and CUDA. Sources under cpu/kernels/ are compiled
// once per set (isa.cpp), each time in a namespace of its own, so that no code of a richer set can be linked into a
// poorer one. Entry points check arguments and then call through the table.
#pragma once

#include "adamw_factors.h"
#include "blocks.h"
#include "nibble.h"

namespace nibble {

struct KernelTable {
    void (*nf4_quantize)(nibble_dtype dtype, const void* src, int64_t count, uint8_t* packed, float* absmax);
    // Turning is for the CPU only.
    void (*nf4_turn)(int64_t rows, int64_t cols, bool back, uint8_t* packed, float* absmax, uint8_t* codes);
    void (*dequantize)(const nibble_weight& weight, nibble_dtype dtype, void* dst);
    void (*linear_forward)(const nibble_weight& weight, const void* bias, const nibble_lora* lora, nibble_dtype dtype,
                           const void* x, const void* residual, int64_t m, void* y, float* lora_hidden);
    void (*linear_backward)(const nibble_weight& weight, const nibble_lora* lora, nibble_dtype dtype, const void* x,
                            const float* lora_hidden, const void* dy, const void* residual, int64_t m, void* dx,
                            float* da, float* db);
    void (*rms_norm_forward)(nibble_dtype dtype, const void* x, const void* update, const float* weight, int64_t rows,
                             int64_t cols, float eps, void* sum, void* y, float* inv_rms);
    void (*rms_norm_backward)(nibble_dtype dtype, const void* x, const float* weight, const float* inv_rms,
                              const void* dy, const void* residual, int64_t rows, int64_t cols, void* dx,
                              float* dweight);
    void (*rope)(nibble_dtype dtype, const void* x, const float* cos, const float* sin, int64_t tokens, int64_t heads,
                 int64_t head_dim, int64_t rotary_dim, bool inverse, void* y);
    void (*swiglu_forward)(nibble_dtype dtype, const void* gate, const void* up, int64_t count, void* y);
    void (*swiglu_backward)(nibble_dtype dtype, const void* gate, const void* up, const void* dy, int64_t count,
                            void* dgate, void* dup);
    // Attention is for the CPU only; CUDA has none.
    void (*attention_forward)(const nibble_attention& attention, nibble_dtype dtype, const void* query, const void* key,
                              const void* value, void* output, float* log_sum_exp);
    void (*attention_backward)(const nibble_attention& attention, nibble_dtype dtype, const void* query,
                               const void* key, const void* value, const void* output, const float* log_sum_exp,
                               const void* doutput, void* dquery, void* dkey, void* dvalue);
    void (*cross_entropy_forward)(const nibble_weight& head, nibble_dtype dtype, const void* hidden,
                                  const int64_t* labels, int64_t tokens, float* loss, float* log_sum_exp,
                                  void* unit_dhidden);
    void (*cross_entropy_backward)(const nibble_weight& head, nibble_dtype dtype, const void* hidden,
                                   const int64_t* labels, int64_t tokens, const float* log_sum_exp,
                                   const float* loss_grad, void* dhidden, float* dhead);
    void (*adamw_32bit)(const AdamWFactors& factors, float* param, const float* grad, float* moment1, float* moment2,
                        int64_t count);
    void (*adamw_8bit)(const AdamWFactors& factors, float* param, const float* grad, uint8_t* codes1, uint8_t* codes2,
                       float* absmax1, float* absmax2, int64_t count);
    void (*adamw_32bit_rounded)(const AdamWFactors& factors, const RoundingName& rounding, uint16_t* param,
                                nibble_dtype grad_dtype, const void* grad, float* moment1, float* moment2,
                                int64_t count);
    void (*adamw_8bit_rounded)(const AdamWFactors& factors, const RoundingName& rounding, uint16_t* param,
                               nibble_dtype grad_dtype, const void* grad, uint8_t* codes1, uint8_t* codes2,
                               float* absmax1, float* absmax2, int64_t count);
};

namespace portable {
extern const KernelTable table;
}
namespace avx2 {
extern const KernelTable table;
}
namespace avx512 {
extern const KernelTable table;
}
namespace avx512_bf16 {
extern const KernelTable table;
}

namespace cuda {
extern const KernelTable table;
}

// The kernels of the call under way, the device that it named (null: the CPU), and the number of threads it runs on.
const KernelTable& kernels() noexcept;
const nibble_device* device() noexcept;
int threads() noexcept;

// As many of them as `work`, in elements or vectors touched, keeps busy: to wake a thread costs what it computes in
// some microseconds, and far more where other programs want the processor.
int threads_for(int64_t work) noexcept;

// Code books; see nf4.cpp.
extern const float nf4_code[16];
// Quantising to a dynamic map looks the nearest code up on an even grid of [-1, 1], as bitsandbytes 0.50 does: a value
// just beside a midpoint goes where its grid point goes.
inline constexpr int kCodeGrid = 65536;
inline constexpr float kCodeGridScale = 32767.5F;
struct DynamicMap {
    const float* values;     // [256], of each code.
    const uint8_t* nearest;  // [kCodeGrid], the code nearest to each grid point.
    const uint16_t* starts;  // [256], the first grid point of each code or a later one.
};
const DynamicMap& signed_map() noexcept;
const DynamicMap& unsigned_map() noexcept;

static inline int code_grid_index(float value) {
    return static_cast<int>((value + 1.0F) * kCodeGridScale + 0.5F);
}

}  // namespace nibble
