#include "dispatch.h"
#include "operators.h"

namespace nibble::cuda {

const KernelTable table = {
    nf4_quantize,
    nullptr,
    dequantize,
    linear_forward,
    linear_backward,
    rms_norm_forward,
    rms_norm_backward,
    rope,
    swiglu_forward,
    swiglu_backward,
    nullptr,
    nullptr,
    cross_entropy_forward,
    cross_entropy_backward,
    adamw_32bit,
    adamw_8bit,
    adamw_32bit_rounded,
    adamw_8bit_rounded,
};

}  // namespace nibble::cuda
