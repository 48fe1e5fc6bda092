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

}  // namespace nibble::cuda
