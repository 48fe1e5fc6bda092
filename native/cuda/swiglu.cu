// y = silu(gate) * up and its gradients, element by element.
#include "device.h"
#include "layers.h"

namespace nibble::cuda {

template <typename T>
NIBBLE_DEVICE void swiglu_forward(const SwiGluForwardArguments<T>& args) {
    for (int64_t i = static_cast<int64_t>(block_index(0)) * kElementThreads + thread_index(); i < args.y.count;
         i += static_cast<int64_t>(grid_size(0)) * kElementThreads) {
        const float gate = to_float(args.gate[i]);
        args.y[i] = from_float<T>(gate / (1.0F + exp_of(-gate)) * to_float(args.up[i]));
    }
}

template <typename T>
NIBBLE_DEVICE void swiglu_backward(const SwiGluBackwardArguments<T>& args) {
    for (int64_t i = static_cast<int64_t>(block_index(0)) * kElementThreads + thread_index(); i < args.dy.count;
         i += static_cast<int64_t>(grid_size(0)) * kElementThreads) {
        const float gate = to_float(args.gate[i]);
        const float dy = to_float(args.dy[i]);
        const float sigmoid = 1.0F / (1.0F + exp_of(-gate));
        args.dup[i] = from_float<T>(dy * gate * sigmoid);
        args.dgate[i] = from_float<T>(dy * to_float(args.up[i]) * sigmoid * (1.0F + gate * (1.0F - sigmoid)));
    }
}

NIBBLE_KERNEL(swiglu_forward_f32, SwiGluForwardArguments<float>, kElementThreads, swiglu_forward)
NIBBLE_KERNEL(swiglu_forward_bf16, SwiGluForwardArguments<bf16>, kElementThreads, swiglu_forward)
NIBBLE_KERNEL(swiglu_forward_f16, SwiGluForwardArguments<f16>, kElementThreads, swiglu_forward)
NIBBLE_KERNEL(swiglu_backward_f32, SwiGluBackwardArguments<float>, kElementThreads, swiglu_backward)
NIBBLE_KERNEL(swiglu_backward_bf16, SwiGluBackwardArguments<bf16>, kElementThreads, swiglu_backward)
NIBBLE_KERNEL(swiglu_backward_f16, SwiGluBackwardArguments<f16>, kElementThreads, swiglu_backward)

}  // namespace nibble::cuda
