// Entry points of the row-wise and element-wise layers.
#include "checks.h"
#include "dispatch.h"

using namespace nibble;

nibble_status nibble_rms_norm_forward(const nibble_device* device, nibble_dtype dtype, const void* x,
                                      const void* update, const float* weight, int64_t rows, int64_t cols, float eps,
                                      void* sum, void* y, float* inv_rms) {
    return guarded(device, [&] {
        const Checks check("rms_norm_forward");
        check.dtype(dtype);
        check.not_negative("rows", rows);
        check.positive("cols", cols);
        const int64_t count = check.product("x", rows, cols);
        check.buffer("x", x, count, element_size(dtype));
        check.buffer("weight", weight, cols, 4);
        check.buffer("y", y, count, element_size(dtype));
        check.optional_buffer("update", update, count, element_size(dtype));
        check.optional_buffer("sum", sum, count, element_size(dtype));
        if ((update == nullptr) != (sum == nullptr)) {
            check.fail("update and sum must both be given or both be null");
        }
        check.optional_buffer("inv_rms", inv_rms, rows, 4);
        if (!(eps >= 0.0F)) {
            check.fail("eps is " + std::to_string(eps) + ", expected zero or a positive number");
        }
        kernels().rms_norm_forward(dtype, x, update, weight, rows, cols, eps, sum, y, inv_rms);
    });
}

nibble_status nibble_rms_norm_backward(const nibble_device* device, nibble_dtype dtype, const void* x,
                                       const float* weight, const float* inv_rms, const void* dy, const void* residual,
                                       int64_t rows, int64_t cols, void* dx, float* dweight) {
    return guarded(device, [&] {
        const Checks check("rms_norm_backward");
        check.dtype(dtype);
        check.not_negative("rows", rows);
        check.positive("cols", cols);
        const int64_t count = check.product("x", rows, cols);
        check.buffer("x", x, count, element_size(dtype));
        check.buffer("weight", weight, cols, 4);
        check.buffer("inv_rms", inv_rms, rows, 4);
        check.buffer("dy", dy, count, element_size(dtype));
        check.optional_buffer("residual", residual, count, element_size(dtype));
        check.buffer("dx", dx, count, element_size(dtype));
        check.optional_buffer("dweight", dweight, cols, 4);
        kernels().rms_norm_backward(dtype, x, weight, inv_rms, dy, residual, rows, cols, dx, dweight);
    });
}

nibble_status nibble_rope(const nibble_device* device, nibble_dtype dtype, const void* x, const float* cos,
                          const float* sin, int64_t tokens, int64_t heads, int64_t head_dim, int64_t rotary_dim,
                          int32_t inverse, void* y) {
    return guarded(device, [&] {
        const Checks check("rope");
        check.dtype(dtype);
        check.not_negative("tokens", tokens);
        check.positive("heads", heads);
        check.positive("head_dim", head_dim);
        if (rotary_dim <= 0 || rotary_dim > head_dim || rotary_dim % 2 != 0) {
            check.fail("rotary_dim is " + std::to_string(rotary_dim) + ", expected an even number up to head_dim " +
                       std::to_string(head_dim));
        }
        const int64_t count = check.product("x", check.product("x", tokens, heads), head_dim);
        check.buffer("x", x, count, element_size(dtype));
        check.buffer("y", y, count, element_size(dtype));
        check.buffer("cos", cos, check.product("cos", tokens, rotary_dim / 2), 4);
        check.buffer("sin", sin, check.product("sin", tokens, rotary_dim / 2), 4);
        kernels().rope(dtype, x, cos, sin, tokens, heads, head_dim, rotary_dim, inverse != 0, y);
    });
}

nibble_status nibble_swiglu_forward(const nibble_device* device, nibble_dtype dtype, const void* gate, const void* up,
                                    int64_t count, void* y) {
    return guarded(device, [&] {
        const Checks check("swiglu_forward");
        check.dtype(dtype);
        check.not_negative("count", count);
        check.buffer("gate", gate, count, element_size(dtype));
        check.buffer("up", up, count, element_size(dtype));
        check.buffer("y", y, count, element_size(dtype));
        kernels().swiglu_forward(dtype, gate, up, count, y);
    });
}

nibble_status nibble_swiglu_backward(const nibble_device* device, nibble_dtype dtype, const void* gate, const void* up,
                                     const void* dy, int64_t count, void* dgate, void* dup) {
    return guarded(device, [&] {
        const Checks check("swiglu_backward");
        check.dtype(dtype);
        check.not_negative("count", count);
        check.buffer("gate", gate, count, element_size(dtype));
        check.buffer("up", up, count, element_size(dtype));
        check.buffer("dy", dy, count, element_size(dtype));
        check.buffer("dgate", dgate, count, element_size(dtype));
        check.buffer("dup", dup, count, element_size(dtype));
        kernels().swiglu_backward(dtype, gate, up, dy, count, dgate, dup);
    });
}
