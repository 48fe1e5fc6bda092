#include "checks.h"
#include "dispatch.h"

using namespace nibble;

nibble_status nibble_linear_forward(const nibble_device* device, const nibble_weight* weight, const void* bias,
                                    const nibble_lora* lora, nibble_dtype dtype, const void* x, const void* residual,
                                    int64_t m, void* y, float* lora_hidden) {
    return guarded(device, [&] {
        const Checks check("linear_forward");
        check.weight(weight);
        check.lora(lora, *weight);
        check.dtype(dtype);
        check.not_negative("m", m);
        check.buffer("x", x, check.product("x", m, weight->cols), element_size(dtype));
        check.optional_buffer("y", y, check.product("y", m, weight->rows), element_size(dtype));
        check.optional_buffer("residual", residual, check.product("residual", m, weight->rows), element_size(dtype));
        if (residual != nullptr && y == nullptr && m > 0) {
            check.fail("residual is a part of y, but y is null");
        }
        check.optional_buffer("bias", bias, weight->rows, element_size(dtype));
        check.optional_buffer("lora_hidden", lora_hidden,
                              lora == nullptr ? 0 : check.product("lora_hidden", m, lora->rank), 4);
        if (m > 0) {
            kernels().linear_forward(*weight, bias, lora, dtype, x, residual, m, y, lora_hidden);
        }
    });
}

nibble_status nibble_linear_backward(const nibble_device* device, const nibble_weight* weight, const nibble_lora* lora,
                                     nibble_dtype dtype, const void* x, const float* lora_hidden, const void* dy,
                                     const void* residual, int64_t m, void* dx, float* da, float* db) {
    return guarded(device, [&] {
        const Checks check("linear_backward");
        check.weight(weight);
        check.lora(lora, *weight);
        check.dtype(dtype);
        check.not_negative("m", m);
        check.buffer("dy", dy, check.product("dy", m, weight->rows), element_size(dtype));
        check.optional_buffer("dx", dx, check.product("dx", m, weight->cols), element_size(dtype));
        check.optional_buffer("residual", residual, check.product("residual", m, weight->cols), element_size(dtype));
        if (residual != nullptr && dx == nullptr && m > 0) {
            check.fail("residual is a part of dx, but dx is null");
        }
        if (lora == nullptr) {
            if (x != nullptr || lora_hidden != nullptr || da != nullptr || db != nullptr) {
                check.fail("x, lora_hidden, da and db belong to an adapter, but lora is null");
            }
            check.buffer("dx", dx, m * weight->cols, element_size(dtype));
        } else {
            check.buffer("x", x, m * weight->cols, element_size(dtype));
            check.optional_buffer("lora_hidden", lora_hidden, check.product("lora_hidden", m, lora->rank), 4);
            check.buffer("da", da, lora->rank * weight->cols, 4);
            check.buffer("db", db, weight->rows * lora->rank, 4);
        }
        if (m > 0 || device != nullptr) {
            kernels().linear_backward(*weight, lora, dtype, x, lora_hidden, dy, residual, m, dx, da, db);
        } else if (lora != nullptr) {
            for (int64_t i = 0; i < lora->rank * weight->cols; ++i) {
                da[i] = 0.0F;
            }
            for (int64_t i = 0; i < weight->rows * lora->rank; ++i) {
                db[i] = 0.0F;
            }
        }
    });
}
