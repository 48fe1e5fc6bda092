// RMS norm, a block a row. The sum of squares runs in float32 over the threads and then over the block, which keeps it
// short; the weight's gradient goes column by column over shares of the rows.
#include "device.h"
#include "layers.h"

namespace nibble::cuda {

template <typename T>
NIBBLE_DEVICE void rms_norm_forward(const RmsNormForwardArguments<T>& args) {
    const Shared<float> scratch = shared_memory<float>(0);
    const int64_t first = block_index(0) * args.cols;
    float squares = 0.0F;
    for (int64_t c = thread_index(); c < args.cols; c += kNormThreads) {
        T element = args.x[first + c];
        if (args.update.present()) {
            element = from_float<T>(to_float(element) + to_float(args.update[first + c]));
            args.sum[first + c] = element;
        }
        const float value = to_float(element);
        squares += value * value;
    }
    squares = block_sum<kNormThreads>(squares, scratch);
    const float inverse = 1.0F / sqrt_of(squares / static_cast<float>(args.cols) + args.eps);
    if (thread_index() == 0 && args.inv_rms.present()) {
        args.inv_rms[block_index(0)] = inverse;
    }
    for (int64_t c = thread_index(); c < args.cols; c += kNormThreads) {
        // Of a sum each thread reads what it wrote itself.
        const T element = args.update.present() ? args.sum[first + c] : args.x[first + c];
        args.y[first + c] = from_float<T>(to_float(element) * inverse * args.weight[c]);
    }
}

template <typename T>
NIBBLE_DEVICE void rms_norm_backward(const RmsNormBackwardArguments<T>& args) {
    const Shared<float> scratch = shared_memory<float>(0);
    const int64_t first = block_index(0) * args.cols;
    float dot = 0.0F;
    for (int64_t c = thread_index(); c < args.cols; c += kNormThreads) {
        dot += to_float(args.dy[first + c]) * args.weight[c] * to_float(args.x[first + c]);
    }
    dot = block_sum<kNormThreads>(dot, scratch);
    const float inverse = args.inv_rms[block_index(0)];
    const float shared = dot * inverse * inverse * inverse / static_cast<float>(args.cols);
    for (int64_t c = thread_index(); c < args.cols; c += kNormThreads) {
        const float residual = args.residual.present() ? to_float(args.residual[first + c]) : 0.0F;
        args.dx[first + c] = from_float<T>(residual + (to_float(args.dy[first + c]) * args.weight[c] * inverse -
                                                       to_float(args.x[first + c]) * shared));
    }
}

template <typename T>
NIBBLE_DEVICE void rms_norm_weight(const RmsNormWeightArguments<T>& args) {
    const int64_t c = static_cast<int64_t>(block_index(0)) * kNormThreads + thread_index();
    if (c >= args.cols) {
        return;
    }
    const int64_t share = block_index(1);
    const int64_t end = min_of((share + 1) * args.rows_of_share, args.rows);
    float sum = 0.0F;
    for (int64_t r = share * args.rows_of_share; r < end; ++r) {
        sum += to_float(args.dy[r * args.cols + c]) * to_float(args.x[r * args.cols + c]) * args.inv_rms[r];
    }
    args.shares[share * args.cols + c] = sum;
}

NIBBLE_KERNEL(rms_norm_forward_f32, RmsNormForwardArguments<float>, kNormThreads, rms_norm_forward)
NIBBLE_KERNEL(rms_norm_forward_bf16, RmsNormForwardArguments<bf16>, kNormThreads, rms_norm_forward)
NIBBLE_KERNEL(rms_norm_forward_f16, RmsNormForwardArguments<f16>, kNormThreads, rms_norm_forward)
NIBBLE_KERNEL(rms_norm_backward_f32, RmsNormBackwardArguments<float>, kNormThreads, rms_norm_backward)
NIBBLE_KERNEL(rms_norm_backward_bf16, RmsNormBackwardArguments<bf16>, kNormThreads, rms_norm_backward)
NIBBLE_KERNEL(rms_norm_backward_f16, RmsNormBackwardArguments<f16>, kNormThreads, rms_norm_backward)
NIBBLE_KERNEL(rms_norm_weight_f32, RmsNormWeightArguments<float>, kNormThreads, rms_norm_weight)
NIBBLE_KERNEL(rms_norm_weight_bf16, RmsNormWeightArguments<bf16>, kNormThreads, rms_norm_weight)
NIBBLE_KERNEL(rms_norm_weight_f16, RmsNormWeightArguments<f16>, kNormThreads, rms_norm_weight)

}  // namespace nibble::cuda
