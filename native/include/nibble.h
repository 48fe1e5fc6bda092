/* Nibble's native core: one C ABI over kernels for CPU and CUDA.
 *
 * Conventions
 *   - Every operator returns a nibble_status. On anything but NIBBLE_OK, nibble_last_error() of the same thread says
 *     what was wrong in one line. No exception, signal or abort crosses this boundary on account of an argument.
 *   - Matrices are row-major and contiguous. `rows` of a weight is the number of output features N, `cols` the number
 * of input features K; a linear layer computes y[M,N] = x[M,K] * W[N,K]^T.
 *   - Activations (`x`, `y`, their gradients) have the call's dtype; sums are kept in float32 or better. Adapters, norm
 *     weights and parameter gradients are float32.
 *   - The caller owns every buffer. A buffer must be aligned to its element size. Nothing is retained after a call.
 *   - Results depend on the inputs, the thread count and the instruction set, and on nothing else.
 */
#ifndef NIBBLE_H
#define NIBBLE_H

#include <stdint.h>

#if defined(__GNUC__)
#define NIBBLE_API __attribute__((visibility("default")))
#else
#define NIBBLE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum nibble_status {
    NIBBLE_OK = 0,
    NIBBLE_INVALID_ARGUMENT = 1,
    NIBBLE_OUT_OF_MEMORY = 2,
    NIBBLE_INTERNAL_ERROR = 3,
    NIBBLE_DEVICE_ERROR = 4 /* the GPU or its driver refused; the text is the driver's */
} nibble_status;

typedef enum nibble_dtype { NIBBLE_F32 = 0, NIBBLE_BF16 = 1, NIBBLE_F16 = 2 } nibble_dtype;

/* Instruction sets, each containing the ones before it. */
typedef enum nibble_isa {
    NIBBLE_ISA_PORTABLE = 0,
    NIBBLE_ISA_AVX2 = 1,       /* AVX2, FMA, F16C */
    NIBBLE_ISA_AVX512 = 2,     /* AVX-512 F, BW, DQ, VL */
    NIBBLE_ISA_AVX512_BF16 = 3 /* and AVX512_BF16, AVX512_VBMI */
} nibble_isa;

/* ---- library ---------------------------------------------------------------------------------------------------- */

/* Version of this ABI; a caller built against another value must not go on. */
#define NIBBLE_ABI_VERSION 5
NIBBLE_API int32_t nibble_abi_version(void);

/* Text for the last failed call of this thread; "" when there was none. Valid until the thread's next call. */
NIBBLE_API const char* nibble_last_error(void);

/* Number of threads that operators use, 1 to NIBBLE_MAX_THREADS. The default is that of the OpenMP runtime. A call
 * keeps the number that it began with. */
#define NIBBLE_MAX_THREADS 1024
NIBBLE_API nibble_status nibble_set_num_threads(int32_t threads);
NIBBLE_API int32_t nibble_get_num_threads(void);

/* The best instruction set of this machine, and the one in use (for tests: any up to the best may be chosen). */
NIBBLE_API nibble_isa nibble_best_isa(void);
NIBBLE_API nibble_isa nibble_get_isa(void);
NIBBLE_API nibble_status nibble_set_isa(nibble_isa isa);

/* ---- devices -------------------------------------------------------------------------------------------------------
 * An operator runs where its `device` says; null is the CPU. For a GPU the library checks the arguments, decides which
 * kernels run over which grid, and hands every launch to the caller, who owns driver, module and stream. The kernels
 * are those of native/cuda. Pointers are then the GPU's, and work is queued when the operator returns, not done. */

typedef struct nibble_launch {
    const char* kernel; /* its name in the module */
    uint32_t grid[3];
    uint32_t threads; /* of a block, along its first axis */
    uint32_t shared_bytes;
    uint32_t argument_bytes;
    const void* arguments; /* one struct, the kernel's only parameter */
} nibble_launch;

typedef struct nibble_device {
    int32_t compute_capability; /* 75, 80, 86, 89, 90, 120 */
    int32_t multiprocessors;
    int32_t shared_bytes_per_block; /* the most that a kernel may be given */
    void* context;                  /* handed back to the functions below */
    /* Queues a kernel; on failure writes one line to error. */
    nibble_status (*launch)(void* context, const nibble_launch* launch, char* error, int32_t error_bytes);
    /* Device memory, aligned to 256 bytes, for the operator under way; null when there is none. Memory that the caller
     * hands out again to work queued later on the same stream is fine. */
    void* (*workspace)(void* context, uint64_t bytes);
} nibble_device;

/* ---- memory --------------------------------------------------------------------------------------------------------
 * For buffers of the CPU that come and go with every step: large blocks are kept and handed out again, so that the
 * pages of a step are those of the one before, and no more is held than was in use at once. */

/* At least `bytes` bytes, aligned to 64, their contents undefined; null when there is no memory. */
NIBBLE_API void* nibble_allocate(uint64_t bytes);
NIBBLE_API void nibble_release(void* memory); /* may be null */

/* A c10::Allocator of libtorch 2.10 over these two, for c10::SetCPUAllocator; it lives as long as the process.
 * `original`, the allocator in use before, reports what cannot be had. */
NIBBLE_API void* nibble_torch_allocator(void* original);

/* ---- NF4 (QLoRA, arXiv:2305.14314; bit-compatible with bitsandbytes) -----------------------------------------------
 * Blocks of 64 consecutive elements of the flattened tensor; two elements a byte, the first in the HIGH nibble; the
 * last block may be short, an odd last element has a zero low nibble. */

#define NIBBLE_NF4_BLOCK 64
#define NIBBLE_ABSMAX_BLOCK 256
#define NIBBLE_TURNED_ROWS 32

/* The 16 code values, and the 256 values of the signed and unsigned 8-bit dynamic maps. */
NIBBLE_API const float* nibble_nf4_code(void);
NIBBLE_API const float* nibble_dynamic_map_signed(void);
NIBBLE_API const float* nibble_dynamic_map_unsigned(void);

/* src[count] of dtype -> packed[ceil(count / 2)], absmax[ceil(count / 64)]. Non-finite values are refused; on a GPU,
 * where nobody waits for them, they make the scale of their block NaN. */
NIBBLE_API nibble_status nibble_nf4_quantize(const nibble_device* device, nibble_dtype dtype, const void* src,
                                             int64_t count, uint8_t* packed, float* absmax);

/* Double quantisation of absmax[blocks]: offset = mean(absmax); codes[blocks] in the signed dynamic map of
 * absmax - offset, scaled by nested_absmax[ceil(blocks / 256)]. Negative and non-finite values are refused. On the CPU
 * only: scales are a sixty-fourth of the weights. */
NIBBLE_API nibble_status nibble_nf4_quantize_absmax(const float* absmax, int64_t blocks, uint8_t* codes,
                                                    float* nested_absmax, float* offset);

/* ---- weights ------------------------------------------------------------------------------------------------------
 */

typedef enum nibble_format {
    NIBBLE_WEIGHT_F32 = 0,
    NIBBLE_WEIGHT_BF16 = 1,
    NIBBLE_WEIGHT_F16 = 2,
    NIBBLE_WEIGHT_NF4 = 3,       /* absmax set, or absmax_codes + nested_absmax + absmax_offset */
    NIBBLE_WEIGHT_NF4_TURNED = 4 /* the same, as nibble_nf4_turn leaves it; on the CPU only */
} nibble_format;

/* A view of a weight matrix [rows, cols]. */
typedef struct nibble_weight {
    int64_t rows;
    int64_t cols;
    int32_t format;
    float absmax_offset;
    const void* data;
    const float* absmax;         /* NF4: [ceil(rows * cols / 64)], or null when double-quantised */
    const uint8_t* absmax_codes; /* NF4, double-quantised: [ceil(rows * cols / 64)] */
    const float* nested_absmax;  /* NF4, double-quantised: [ceil(blocks / 256)] */
} nibble_weight;

/* NF4 in another order, for kernels that multiply 32 rows side by side. The words of 32 rows and one block form a
 * group, [8][32] of 32 bits: word [w][row] has column 16 i + 2 w of its row in nibble i from below, i < 4, and column
 * 16 i + 2 w + 1 in nibble 4 + i. Group lies behind group of the same rows, then come the next 32 rows; of the scales
 * too there are 32 a group, in the same order. nested_absmax stays as it is.
 *
 * nibble_nf4_turns: 1 where the layers of this instruction set are faster so and the shape allows it (rows a multiple
 * of 32, cols a multiple of 64 and at least 256), else 0. nibble_nf4_turn turns what is not null of packed[rows * cols
 * / 2], absmax[rows * cols / 64] and absmax_codes[rows * cols / 64] in place; nibble_nf4_turn_back undoes it. */
NIBBLE_API int32_t nibble_nf4_turns(int64_t rows, int64_t cols);
NIBBLE_API nibble_status nibble_nf4_turn(int64_t rows, int64_t cols, uint8_t* packed, float* absmax,
                                         uint8_t* absmax_codes);
NIBBLE_API nibble_status nibble_nf4_turn_back(int64_t rows, int64_t cols, uint8_t* packed, float* absmax,
                                              uint8_t* absmax_codes);

/* The whole weight as dtype into dst[rows * cols] (for tests, merging and export; layers never need it). */
NIBBLE_API nibble_status nibble_dequantize(const nibble_device* device, const nibble_weight* weight, nibble_dtype dtype,
                                           void* dst);

/* ---- linear layers -------------------------------------------------------------------------------------------------
 * A low-rank adapter (LoRA, arXiv:2106.09685): y += scale * drop(x) * A^T * B^T, A [rank, K], B [N, rank], float32.
 * drop() zeroes element (m, k) of x when a Philox4x32-10 word falls below dropout * 2^32 and multiplies the others by
 * 1 / (1 - dropout). The word of element e = m * K + k is number e % 4 of the block with counter
 * {lo(e / 4), hi(e / 4), step, layer} and key {lo(seed), hi(seed)}, so that backward sees the same mask. */
typedef struct nibble_lora {
    int64_t rank;
    float scale;
    float dropout; /* 0 <= dropout < 1; 0 at inference */
    const float* a;
    const float* b;
    uint64_t seed;
    uint32_t step;
    uint32_t layer;
} nibble_lora;

/* y[M,N] = x[M,K] * W^T (+ bias[N], of the call's dtype) (+ adapter) (+ residual[M,N], a stream that the layer adds to,
 * which may be y itself). bias, lora and residual may be null.
 * lora_hidden (may be null): receives drop(x) * A^T as float32 [M, rank], which backward then needs not recompute. y
 * may be null where nobody needs more than that. */
NIBBLE_API nibble_status nibble_linear_forward(const nibble_device* device, const nibble_weight* weight,
                                               const void* bias, const nibble_lora* lora, nibble_dtype dtype,
                                               const void* x, const void* residual, int64_t m, void* y,
                                               float* lora_hidden);

/* dx[M,K] = dy[M,N] * W (+ the adapter's share), plus residual [M,K], the gradient of x that comes another way (may be
 * null, and may be dx itself); da[rank,K], db[N,rank] float32, overwritten. Without lora, x, lora_hidden, da and db
 * must be null. With lora, x and lora_hidden (as forward wrote it; null: recomputed) are read, da and db are required,
 * and dx may be null when nobody needs it. */
NIBBLE_API nibble_status nibble_linear_backward(const nibble_device* device, const nibble_weight* weight,
                                                const nibble_lora* lora, nibble_dtype dtype, const void* x,
                                                const float* lora_hidden, const void* dy, const void* residual,
                                                int64_t m, void* dx, float* da, float* db);

/* ---- element-wise and row-wise layers ------------------------------------------------------------------------------
 */

/* y = x / sqrt(mean(x^2) + eps) * weight over the last dimension; x, y [rows, cols]; weight float32 [cols].
 * With update [rows, cols], sum = x + update, rounded to the element type, is written and takes the place of x: a
 * residual stream and the norm behind it in one pass. Both may be null. inv_rms (may be null): float32 [rows], kept for
 * backward. */
NIBBLE_API nibble_status nibble_rms_norm_forward(const nibble_device* device, nibble_dtype dtype, const void* x,
                                                 const void* update, const float* weight, int64_t rows, int64_t cols,
                                                 float eps, void* sum, void* y, float* inv_rms);

/* dx [rows, cols], plus residual [rows, cols], the gradient of x that comes another way, may be null. x is what was
 * normalised, the sum where there was one. dweight float32 [cols], overwritten, may be null. */
NIBBLE_API nibble_status nibble_rms_norm_backward(const nibble_device* device, nibble_dtype dtype, const void* x,
                                                  const float* weight, const float* inv_rms, const void* dy,
                                                  const void* residual, int64_t rows, int64_t cols, void* dx,
                                                  float* dweight);

/* Rotary embedding (arXiv:2104.09864) in the half-split layout, in place or not: with d = rotary_dim / 2, elements i
 * and i + d of each head turn by the angle whose cosine and sine are cos/sin[token, i]; elements past rotary_dim pass.
 * x, y [tokens, heads, head_dim]; cos, sin float32 [tokens, rotary_dim / 2]. inverse != 0 turns back (the gradient). */
NIBBLE_API nibble_status nibble_rope(const nibble_device* device, nibble_dtype dtype, const void* x, const float* cos,
                                     const float* sin, int64_t tokens, int64_t heads, int64_t head_dim,
                                     int64_t rotary_dim, int32_t inverse, void* y);

/* y = silu(gate) * up, element-wise over count elements (arXiv:2002.05202). */
NIBBLE_API nibble_status nibble_swiglu_forward(const nibble_device* device, nibble_dtype dtype, const void* gate,
                                               const void* up, int64_t count, void* y);
NIBBLE_API nibble_status nibble_swiglu_backward(const nibble_device* device, nibble_dtype dtype, const void* gate,
                                                const void* up, const void* dy, int64_t count, void* dgate, void* dup);

/* ---- attention (on the CPU only; a GPU has libtorch's) -------------------------------------------------------------
 * Tokens of sequences laid end to end attend to themselves and earlier tokens of their own sequence:
 * output = softmax(scale * query * key^T) * value, for each head. query, output [tokens, heads, head_dim]; key, value
 * [tokens, kv_heads, head_dim]; heads / kv_heads query heads in a row share a key head (arXiv:2305.13245). */
typedef struct nibble_attention {
    const int32_t* lengths; /* tokens of each sequence, positive */
    int64_t sequences;
    int64_t heads;
    int64_t kv_heads;
    int64_t head_dim;
    int64_t window; /* positions that a token sees at most, its own among them; 0 for all */
    float scale;
} nibble_attention;

/* log_sum_exp (may be null): float32 [tokens, heads], kept for backward. */
NIBBLE_API nibble_status nibble_attention_forward(const nibble_attention* attention, nibble_dtype dtype,
                                                  const void* query, const void* key, const void* value, void* output,
                                                  float* log_sum_exp);

/* doutput like output; dquery, dkey, dvalue like what they are the gradients of. */
NIBBLE_API nibble_status nibble_attention_backward(const nibble_attention* attention, nibble_dtype dtype,
                                                   const void* query, const void* key, const void* value,
                                                   const void* output, const float* log_sum_exp, const void* doutput,
                                                   void* dquery, void* dkey, void* dvalue);

/* ---- loss ----------------------------------------------------------------------------------------------------------
 * Cross-entropy straight from hidden states and the output head, in chunks: [tokens, vocab] never exists. labels[t] is
 * the target of row t (already shifted), or -100 for none; anything else outside [0, vocab) is refused (on a GPU: its
 * loss is NaN). loss[tokens]: float32 negative log-likelihoods, 0 where ignored. log_sum_exp[tokens]: kept for
 * backward. unit_dhidden (may be null; on the CPU only): the gradients of loss[t] [tokens, K] of dtype, which save
 * backward from making the logits again; whoever has loss_grad multiplies row t by loss_grad[t]. */
NIBBLE_API nibble_status nibble_linear_cross_entropy_forward(const nibble_device* device, const nibble_weight* head,
                                                             nibble_dtype dtype, const void* hidden,
                                                             const int64_t* labels, int64_t tokens, float* loss,
                                                             float* log_sum_exp, void* unit_dhidden);

/* Gradient of sum(loss_grad[t] * loss[t]): dhidden [tokens, K] of dtype; dhead float32 [vocab, K], ADDED to, may be
 * null. */
NIBBLE_API nibble_status nibble_linear_cross_entropy_backward(const nibble_device* device, const nibble_weight* head,
                                                              nibble_dtype dtype, const void* hidden,
                                                              const int64_t* labels, int64_t tokens,
                                                              const float* log_sum_exp, const float* loss_grad,
                                                              void* dhidden, float* dhead);

/* ---- optimizers (AdamW, arXiv:1711.05101; 8-bit states, arXiv:2110.02861)
 * -------------------------------------------- One fused pass; gradients are multiplied by grad_scale first (clipping,
 * loss scale). step counts from 1. */
typedef struct nibble_adamw {
    double learning_rate; /* float64, since 1 - beta2 would lose five digits in float32 */
    double beta1;
    double beta2;
    double epsilon;
    double weight_decay;
    double grad_scale;
    int64_t step;
} nibble_adamw;

NIBBLE_API nibble_status nibble_adamw_step_32bit(const nibble_device* device, const nibble_adamw* config, float* param,
                                                 const float* grad, float* moment1, float* moment2, int64_t count);

/* Block-wise states, block 256: codes1 in the signed, codes2 in the unsigned dynamic map; absmax [ceil(count / 256)].
 * nibble_adamw_init_8bit writes the states of a parameter that was never stepped. A gradient that is not finite makes
 * the states of its block NaN. */
NIBBLE_API nibble_status nibble_adamw_init_8bit(uint8_t* codes1, uint8_t* codes2, float* absmax1, float* absmax2,
                                                int64_t count);
NIBBLE_API nibble_status nibble_adamw_step_8bit(const nibble_device* device, const nibble_adamw* config, float* param,
                                                const float* grad, uint8_t* codes1, uint8_t* codes2, float* absmax1,
                                                float* absmax2, int64_t count);

/* Parameters in bfloat16 of which there is no float32 copy: a new value is rounded to one of its two neighbours, away
 * from zero with a probability of what the other would discard, so that updates smaller than the distance of neighbours
 * count on average (arXiv:2010.06192). The choice is Philox's of (seed, config.step, parameter, first + i) alone.
 * first: the place of param[0] in its parameter, a multiple of 256, parameter: its number, below 2^31. Gradients are
 * float32 or bfloat16. */
typedef struct nibble_rounding {
    uint64_t seed;
    int64_t first;
    uint32_t parameter;
} nibble_rounding;

NIBBLE_API nibble_status nibble_adamw_step_32bit_bf16(const nibble_device* device, const nibble_adamw* config,
                                                      const nibble_rounding* rounding, uint16_t* param,
                                                      nibble_dtype grad_dtype, const void* grad, float* moment1,
                                                      float* moment2, int64_t count);
NIBBLE_API nibble_status nibble_adamw_step_8bit_bf16(const nibble_device* device, const nibble_adamw* config,
                                                     const nibble_rounding* rounding, uint16_t* param,
                                                     nibble_dtype grad_dtype, const void* grad, uint8_t* codes1,
                                                     uint8_t* codes2, float* absmax1, float* absmax2, int64_t count);

#ifdef __cplusplus
}
#endif
#endif
