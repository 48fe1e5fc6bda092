// The operators of the table on CUDA; each file that implements one says which kernels it launches.
#pragma once

#include "../api/adamw_factors.h"
#include "nibble.h"
#include "span.h"

namespace nibble::cuda {

void nf4_quantize(nibble_dtype dtype, const void* src, int64_t count, uint8_t* packed, float* absmax);
void dequantize(const nibble_weight& weight, nibble_dtype dtype, void* dst);
void linear_forward(const nibble_weight& weight, const void* bias, const nibble_lora* lora, nibble_dtype dtype,
                    const void* x, const void* residual, int64_t m, void* y, float* lora_hidden);
void linear_backward(const nibble_weight& weight, const nibble_lora* lora, nibble_dtype dtype, const void* x,
                     const float* lora_hidden, const void* dy, const void* residual, int64_t m, void* dx, float* da,
                     float* db);
void rms_norm_forward(nibble_dtype dtype, const void* x, const void* update, const float* weight, int64_t rows,
                      int64_t cols, float eps, void* sum, void* y, float* inv_rms);
void rms_norm_backward(nibble_dtype dtype, const void* x, const float* weight, const float* inv_rms, const void* dy,
                       const void* residual, int64_t rows, int64_t cols, void* dx, float* dweight);
void rope(nibble_dtype dtype, const void* x, const float* cos, const float* sin, int64_t tokens, int64_t heads,
          int64_t head_dim, int64_t rotary_dim, bool inverse, void* y);
void swiglu_forward(nibble_dtype dtype, const void* gate, const void* up, int64_t count, void* y);
void swiglu_backward(nibble_dtype dtype, const void* gate, const void* up, const void* dy, int64_t count, void* dgate,
                     void* dup);
void cross_entropy_forward(const nibble_weight& head, nibble_dtype dtype, const void* hidden, const int64_t* labels,
                           int64_t tokens, float* loss, float* log_sum_exp, void* unit_dhidden);
void cross_entropy_backward(const nibble_weight& head, nibble_dtype dtype, const void* hidden, const int64_t* labels,
                            int64_t tokens, const float* log_sum_exp, const float* loss_grad, void* dhidden,
                            float* dhead);
void adamw_32bit(const AdamWFactors& factors, float* param, const float* grad, float* moment1, float* moment2,
                 int64_t count);
void adamw_8bit(const AdamWFactors& factors, float* param, const float* grad, uint8_t* codes1, uint8_t* codes2,
                float* absmax1, float* absmax2, int64_t count);
void adamw_32bit_rounded(const AdamWFactors& factors, const RoundingName& rounding, uint16_t* param,
                         nibble_dtype grad_dtype, const void* grad, float* moment1, float* moment2, int64_t count);
void adamw_8bit_rounded(const AdamWFactors& factors, const RoundingName& rounding, uint16_t* param,
                        nibble_dtype grad_dtype, const void* grad, uint8_t* codes1, uint8_t* codes2, float* absmax1,
                        float* absmax2, int64_t count);

// Parts of the loss: logits[tokens, row_count] = hidden * W[first_row .. first_row + row_count)^T in float32, and, from
// the logits' gradient in the element type, dhidden += gradient * W[...], where tensor cores take that. `stride`
// elements lie between the tokens of the gradient.
void linear_logits(const nibble_weight& head, int64_t first_row, int64_t row_count, nibble_dtype dtype,
                   const void* hidden, int64_t tokens, Global<float> logits);
bool has_logits_backward(const nibble_weight& head, int64_t row_count, nibble_dtype dtype, int64_t tokens);
void linear_logits_backward(const nibble_weight& head, int64_t first_row, int64_t row_count, nibble_dtype dtype,
                            const void* gradient, int64_t stride, int64_t tokens, Global<float> dhidden);

}  // namespace nibble::cuda
