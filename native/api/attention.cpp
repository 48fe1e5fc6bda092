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

struct Sizes {
    int64_t rows;       // Of queries: tokens times heads.
    int64_t count;      // Elements of query and output.
    int64_t key_count;  // Of key and value.
    int64_t element;    // Bytes.
};

// Checks what forward and backward have in common.
Sizes check_inputs(const Checks& check, const nibble_attention* attention, nibble_dtype dtype, const void* query,
                   const void* key, const void* value, const void* output) {
    check.dtype(dtype);
    const int64_t tokens = tokens_of(check, attention);
    const int64_t rows = check.product("query", tokens, attention->heads);
    const int64_t count = check.product("query", rows, attention->head_dim);
    const Sizes sizes{rows, count, count / attention->heads * attention->kv_heads, element_size(dtype)};
    check.buffer("query", query, sizes.count, sizes.element);
    check.buffer("key", key, sizes.key_count, sizes.element);
    check.buffer("value", value, sizes.key_count, sizes.element);
    check.buffer("output", output, sizes.count, sizes.element);
    return sizes;
}

}  // namespace

nibble_status nibble_attention_forward(const nibble_attention* attention, nibble_dtype dtype, const void* query,
                                       const void* key, const void* value, void* output, float* log_sum_exp) {
    return guarded([&] {
        const Checks check("attention_forward");
        const Sizes sizes = check_inputs(check, attention, dtype, query, key, value, output);
        check.optional_buffer("log_sum_exp", log_sum_exp, sizes.rows, 4);
        kernels().attention_forward(*attention, dtype, query, key, value, output, log_sum_exp);
    });
}

nibble_status nibble_attention_backward(const nibble_attention* attention, nibble_dtype dtype, const void* query,
                                        const void* key, const void* value, const void* output,
                                        const float* log_sum_exp, const void* doutput, void* dquery, void* dkey,
                                        void* dvalue) {
    return guarded([&] {
        const Checks check("attention_backward");
        const Sizes sizes = check_inputs(check, attention, dtype, query, key, value, output);
        check.buffer("log_sum_exp", log_sum_exp, sizes.rows, 4);
        check.buffer("doutput", doutput, sizes.count, sizes.element);
        check.buffer("dquery", dquery, sizes.count, sizes.element);
        check.buffer("dkey", dkey, sizes.key_count, sizes.element);
        check.buffer("dvalue", dvalue, sizes.key_count, sizes.element);
        kernels().attention_backward(*attention, dtype, query, key, value, output, log_sum_exp, doutput, dquery, dkey,
                                     dvalue);
    });
}
