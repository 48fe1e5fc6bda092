#include "adamw.h"

#include <algorithm>

#include "launch.h"
#include "operators.h"

namespace nibble::cuda {

void adamw_32bit(const AdamWFactors& factors, float* param, const float* grad, float* moment1, float* moment2,
                 int64_t count) {
    launch("adamw_32bit_step",
           {std::min<int64_t>(ceil_div(count, kAdamWThreads), int64_t{32} * device()->multiprocessors)}, kAdamWThreads,
           0, AdamW32Arguments{factors, {param, count}, {grad, count}, {moment1, count}, {moment2, count}});
}

void adamw_8bit(const AdamWFactors& factors, float* param, const float* grad, uint8_t* codes1, uint8_t* codes2,
                float* absmax1, float* absmax2, int64_t count) {
    const int64_t blocks = ceil_div(count, NIBBLE_ABSMAX_BLOCK);
    launch("adamw_8bit_step", {blocks}, kAdamWThreads, kAdamWShared,
           AdamW8Arguments{factors,
                           {param, count},
                           {grad, count},
                           {codes1, count},
                           {codes2, count},
                           {absmax1, blocks},
                           {absmax2, blocks}});
}

// Calls body with a value of the gradients' type.
template <typename Body>
void with_gradients(nibble_dtype dtype, const Body& body) {
    return dtype == NIBBLE_F32 ? body(float{}) : body(bf16{});
}

void adamw_32bit_rounded(const AdamWFactors& factors, const RoundingName& rounding, uint16_t* param,
                         nibble_dtype grad_dtype, const void* grad, float* moment1, float* moment2, int64_t count) {
    with_gradients(grad_dtype, [&](auto type) {
        using G = decltype(type);
        launch(typed("adamw_32bit_rounded", grad_dtype),
               {std::min<int64_t>(ceil_div(count, kAdamWThreads), int64_t{32} * device()->multiprocessors)},
               kAdamWThreads, kRoundingShared,
               RoundedAdamW32Arguments<G>{factors,
                                          rounding,
                                          span<bf16>(param, count),
                                          span<const G>(grad, count),
                                          {moment1, count},
                                          {moment2, count}});
    });
}

void adamw_8bit_rounded(const AdamWFactors& factors, const RoundingName& rounding, uint16_t* param,
                        nibble_dtype grad_dtype, const void* grad, uint8_t* codes1, uint8_t* codes2, float* absmax1,
                        float* absmax2, int64_t count) {
    const int64_t blocks = ceil_div(count, NIBBLE_ABSMAX_BLOCK);
    with_gradients(grad_dtype, [&](auto type) {
        using G = decltype(type);
        launch(typed("adamw_8bit_rounded", grad_dtype), {blocks}, kAdamWThreads, kAdamWShared + kRoundingShared,
               RoundedAdamW8Arguments<G>{factors,
                                         rounding,
                                         span<bf16>(param, count),
                                         span<const G>(grad, count),
                                         {codes1, count},
                                         {codes2, count},
                                         {absmax1, blocks},
                                         {absmax2, blocks}});
    });
}

}  // namespace nibble::cuda
