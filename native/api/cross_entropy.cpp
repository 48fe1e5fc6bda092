#include "checks.h"
#include "dispatch.h"

using namespace nibble;

namespace {

void check_labels(const Checks& check, const nibble_weight& head, const int64_t* labels, int64_t tokens) {
    check.buffer("labels", labels, tokens, 8);
    if (device() != nullptr) {
        return;  // They lie on the GPU; the kernel makes the loss NaN.
    }
    for (int64_t t = 0; t < tokens; ++t) {
        if (labels[t] != -100 && (labels[t] < 0 || labels[t] >= head.rows)) {
            check.fail("labels[" + std::to_string(t) + "] is " + std::to_string(labels[t]) +
                       ", expected -100 or 0 to " + std::to_string(head.rows - 1));
        }
    }
}

}  // namespace

nibble_status nibble_linear_cross_entropy_forward(const nibble_device* device, const nibble_weight* head,
                                                  nibble_dtype dtype, const void* hidden, const int64_t* labels,
                                                  int64_t tokens, float* loss, float* log_sum_exp, void* unit_dhidden) {
    return guarded(device, [&] {
        const Checks check("linear_cross_entropy_forward");
        check.weight(head);
        check.dtype(dtype);
        check.not_negative("tokens", tokens);
        const int64_t count = check.product("hidden", tokens, head->cols);
        check.buffer("hidden", hidden, count, element_size(dtype));
        check.optional_buffer("unit_dhidden", unit_dhidden, count, element_size(dtype));
        if (device != nullptr && unit_dhidden != nullptr) {
            check.fail("unit_dhidden is made on the CPU only; a GPU takes it from linear_cross_entropy_backward");
        }
        check.buffer("loss", loss, tokens, 4);
        check.buffer("log_sum_exp", log_sum_exp, tokens, 4);
        check_labels(check, *head, labels, tokens);
        kernels().cross_entropy_forward(*head, dtype, hidden, labels, tokens, loss, log_sum_exp, unit_dhidden);
    });
}

nibble_status nibble_linear_cross_entropy_backward(const nibble_device* device, const nibble_weight* head,
                                                   nibble_dtype dtype, const void* hidden, const int64_t* labels,
                                                   int64_t tokens, const float* log_sum_exp, const float* loss_grad,
                                                   void* dhidden, float* dhead) {
    return guarded(device, [&] {
        const Checks check("linear_cross_entropy_backward");
        check.weight(head);
        check.dtype(dtype);
        check.not_negative("tokens", tokens);
        const int64_t count = check.product("hidden", tokens, head->cols);
        check.buffer("hidden", hidden, count, element_size(dtype));
        check.buffer("log_sum_exp", log_sum_exp, tokens, 4);
        check.buffer("loss_grad", loss_grad, tokens, 4);
        check.buffer("dhidden", dhidden, count, element_size(dtype));
        check.optional_buffer("dhead", dhead, head->rows * head->cols, 4);
        check_labels(check, *head, labels, tokens);
        kernels().cross_entropy_backward(*head, dtype, hidden, labels, tokens, log_sum_exp, loss_grad, dhidden, dhead);
    });
}
