// Entry points of causal attention.
#include "checks.h"
#include "dispatch.h"

using namespace nibble;

namespace {

// Checks the sizes and returns the number of tokens.
int64_t tokens_of(const Checks& check, const nibble_attention* attention) {
    if (attention == nullptr) {
        check.fail("attention is null");
    }
    check.not_negative("sequences", attention->sequences);
    check.positive("heads", attention->heads);
    check.positive("kv_heads", attention->kv_heads);
    check.positive("head_dim", attention->head_dim);
    check.not_negative("window", attention->window);
    check.finite("scale", static_cast<double>(attention->scale));
    if (attention->heads % attention->kv_heads != 0) {
        check.fail("heads is " + std::to_string(attention->heads) + ", expected a multiple of kv_heads " +
                   std::to_string(attention->kv_heads));
    }
    check.buffer("lengths", attention->lengths, attention->sequences, 4);
    int64_t tokens = 0;
    for (int64_t s = 0; s < attention->sequences; ++s) {
        check.positive("lengths", attention->lengths[s]);
        tokens += attention->lengths[s];
    }
    return tokens;
}

}  // namespace

nibble_status nibble_attention_forward(const nibble_attention* attention, nibble_dtype dtype, const void* query,
                                       const void* key, const void* value, void* output, float* log_sum_exp) {
    return guarded([&] {
        const Checks check("attention_forward");
        check.dtype(dtype);
        const int64_t tokens = tokens_of(check, attention);
        const int64_t rows = check.product("query", tokens, attention->heads);
        const int64_t count = check.product("query", rows, attention->head_dim);
        const int64_t size = element_size(dtype);
        const int64_t key_count = count / attention->heads * attention->kv_heads;
        check.buffer("query", query, count, size);
        check.buffer("key", key, key_count, size);
        check.buffer("value", value, key_count, size);
        check.buffer("output", output, count, size);
        check.optional_buffer("log_sum_exp", log_sum_exp, rows, 4);
        kernels().attention_forward(*attention, dtype, query, key, value, output, log_sum_exp);
    });
}

nibble_status nibble_attention_backward(const nibble_attention* attention, nibble_dtype dtype, const void* query,
                                        const void* key, const void* value, const void* output,
                                        const float* log_sum_exp, const void* doutput, void* dquery, void* dkey,
                                        void* dvalue) {
    return guarded([&] {
        const Checks check("attention_backward");
        check.dtype(dtype);
        const int64_t tokens = tokens_of(check, attention);
        const int64_t rows = check.product("query", tokens, attention->heads);
        const int64_t count = check.product("query", rows, attention->head_dim);
        const int64_t size = element_size(dtype);
        const int64_t key_count = count / attention->heads * attention->kv_heads;
        check.buffer("query", query, count, size);
        check.buffer("key", key, key_count, size);
        check.buffer("value", value, key_count, size);
        check.buffer("output", output, count, size);
        check.buffer("log_sum_exp", log_sum_exp, rows, 4);
        check.buffer("doutput", doutput, count, size);
        check.buffer("dquery", dquery, count, size);
        check.buffer("dkey", dkey, key_count, size);
        check.buffer("dvalue", dvalue, key_count, size);
        kernels().attention_backward(*attention, dtype, query, key, value, output, log_sum_exp, doutput, dquery, dkey,
                                     dvalue);
    });
}
