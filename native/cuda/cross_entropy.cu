// Loss of a linear output head without its logits: one slice of the vocabulary at a time passes through a workspace.
// Forward folds each slice into a running maximum and sum per token; backward makes the slice again, turns it into its
// gradient in place, and multiplies that into both gradients before the next.
#include "cross_entropy.h"

#include "operands.h"
#include "tile.h"

namespace nibble::cuda {

inline constexpr float kLowest = -3.402823466e38F;
inline constexpr int64_t kIgnored = -100;

NIBBLE_DEVICE void loss_begin(const LossBeginArguments& args) {
    const int64_t token = static_cast<int64_t>(block_index(0)) * kLossThreads + thread_index();
    if (token < args.running.sum.count) {
        args.running.largest[token] = kLowest;
        args.running.sum[token] = 0.0F;
        args.running.target[token] = bits_to_float(0x7FC00000U);  // Not a number until the label's slice has passed.
    }
}

// A block takes a token.
NIBBLE_DEVICE void loss_merge(const LossMergeArguments& args) {
    const Shared<float> scratch = shared_memory<float>(0);
    const int64_t token = block_index(0);
    const int64_t row = token * args.slice;
    float largest = kLowest;
    for (int64_t i = thread_index(); i < args.slice; i += kLossThreads) {
        largest = max_of(args.logits[row + i], largest);
    }
    largest = block_max<kLossThreads>(largest, scratch);
    float sum = 0.0F;
    for (int64_t i = thread_index(); i < args.slice; i += kLossThreads) {
        sum += exp_of(args.logits[row + i] - largest);
    }
    sum = block_sum<kLossThreads>(sum, scratch);
    if (thread_index() != 0) {
        return;
    }
    const float before = args.running.largest[token];
    const float both = max_of(before, largest);
    args.running.sum[token] = args.running.sum[token] * exp_of(before - both) + sum * exp_of(largest - both);
    args.running.largest[token] = both;
    const int64_t label = args.labels[token] - args.first;
    if (label >= 0 && label < args.slice) {
        args.running.target[token] = args.logits[row + label];
    }
}

NIBBLE_DEVICE void loss_finish(const LossFinishArguments& args) {
    const int64_t token = static_cast<int64_t>(block_index(0)) * kLossThreads + thread_index();
    if (token < args.loss.count) {
        const float log_sum_exp = args.running.largest[token] + log_of(args.running.sum[token]);
        args.log_sum_exp[token] = log_sum_exp;
        args.loss[token] = args.labels[token] == kIgnored ? 0.0F : log_sum_exp - args.running.target[token];
    }
}

NIBBLE_DEVICE float gradient_of_logit(const LogitGradientArguments& args, int64_t token, int64_t i) {
    const int64_t label = args.labels[token];
    const float factor = label == kIgnored ? 0.0F : args.loss_grad[token];
    const float probability = exp_of(args.logits[token * args.slice + i] - args.log_sum_exp[token]);
    const float one = label == args.first + i ? 1.0F : 0.0F;
    return factor == 0.0F ? 0.0F : factor * (probability - one);
}

NIBBLE_DEVICE void logit_gradient(const LogitGradientArguments& args) {
    const int64_t token = block_index(1);
    const int64_t i = static_cast<int64_t>(block_index(0)) * kLossThreads + thread_index();
    if (i < args.slice) {
        args.logits[token * args.slice + i] = gradient_of_logit(args, token, i);
    }
}

// A block takes a token, and reads each stretch of logits before it writes over the half of it that lies lower.
template <typename T>
NIBBLE_DEVICE void logit_gradient_rounded(const LogitGradientArguments& args) {
    const int64_t token = block_index(0);
    const Global<T> rounded{reinterpret_cast<T*>(args.logits.data), 2 * args.logits.count};
    for (int64_t first = 0; first < args.slice; first += kLossThreads) {
        const int64_t i = first + thread_index();
        const float value = i < args.slice ? gradient_of_logit(args, token, i) : 0.0F;
        block_barrier();
        if (i < args.slice) {
            rounded[2 * token * args.slice + i] = from_float<T>(value);
        }
    }
}

// The slice's gradient [tokens, slice] as rows, where depth counts over the whole vocabulary.
struct SliceLines {
    static constexpr bool kDepthFirst = true;
    static constexpr int kRun = 1;
    Global<const float> gradient;
    int64_t tokens;
    int64_t slice;
    int64_t slice_first;
    int64_t first;

    NIBBLE_DEVICE float operator()(int row, int64_t d) const {
        return first + row < tokens ? gradient[(first + row) * slice + d - slice_first] : 0.0F;
    }
};

// The same as columns, with a stride from token to token.
template <typename Gradient>
struct SliceAcross {
    static constexpr bool kDepthFirst = false;
    static constexpr int kRun = 1;
    Global<const Gradient> gradient;
    int64_t slice;
    int64_t stride;
    int64_t first;

    NIBBLE_DEVICE float operator()(int row, int64_t token) const {
        return first + row < slice ? to_float(gradient[token * stride + first + row]) : 0.0F;
    }
};

NIBBLE_DEVICE void hidden_gradient(const HiddenGradientArguments& args) {
    const int64_t row = static_cast<int64_t>(block_index(1)) * 64;
    const int64_t column = static_cast<int64_t>(block_index(0)) * 64;
    const int64_t k = args.head.cols;
    Tile<64, 64> tile;
    tile.add(args.first, args.first + args.slice, SliceLines{args.gradient, args.tokens, args.slice, args.first, row},
             WeightAcross{args.head, column});
    tile.for_each(row, args.tokens, column, k,
                  [&](int64_t r, int64_t c, float sum) NIBBLE_INLINE { args.dhidden[r * k + c] += sum; });
}

template <typename T, typename Gradient>
NIBBLE_DEVICE void head_gradient(const HeadGradientArguments<T, Gradient>& args) {
    const int64_t row = static_cast<int64_t>(block_index(1)) * 64;
    const int64_t column = static_cast<int64_t>(block_index(0)) * 64;
    Tile<64, 64> tile;
    tile.add(0, args.tokens, SliceAcross<Gradient>{args.gradient, args.slice, args.stride, row},
             Across<Matrix<T>>{{args.hidden, args.tokens, args.k}, column});
    tile.for_each(row, args.slice, column, args.k, [&](int64_t r, int64_t c, float sum) NIBBLE_INLINE {
        args.dhead[(args.first + r) * args.k + c] += sum;
    });
}

// Sets zero where there is no source.
template <typename T>
NIBBLE_DEVICE void round_to(const RoundArguments<T>& args) {
    for (int64_t i = static_cast<int64_t>(block_index(0)) * kLossThreads + thread_index(); i < args.dst.count;
         i += static_cast<int64_t>(grid_size(0)) * kLossThreads) {
        args.dst[i] = from_float<T>(args.src.present() ? args.src[i] : 0.0F);
    }
}

NIBBLE_KERNEL(loss_begin_tokens, LossBeginArguments, kLossThreads, loss_begin)
NIBBLE_KERNEL(loss_merge_slice, LossMergeArguments, kLossThreads, loss_merge)
NIBBLE_KERNEL(loss_finish_tokens, LossFinishArguments, kLossThreads, loss_finish)
NIBBLE_KERNEL(logit_gradient_slice, LogitGradientArguments, kLossThreads, logit_gradient)
NIBBLE_KERNEL(hidden_gradient_slice, HiddenGradientArguments, kTileThreads, hidden_gradient)
NIBBLE_KERNEL(logit_gradient_rounded_bf16, LogitGradientArguments, kLossThreads, logit_gradient_rounded<bf16>)
NIBBLE_KERNEL(logit_gradient_rounded_f16, LogitGradientArguments, kLossThreads, logit_gradient_rounded<f16>)

using HeadGradientF32 = HeadGradientArguments<float, float>;
using HeadGradientBf16 = HeadGradientArguments<bf16, float>;
using HeadGradientF16 = HeadGradientArguments<f16, float>;
using HeadGradientRoundedBf16 = HeadGradientArguments<bf16, bf16>;
using HeadGradientRoundedF16 = HeadGradientArguments<f16, f16>;

NIBBLE_KERNEL(head_gradient_f32, HeadGradientF32, kTileThreads, head_gradient)
NIBBLE_KERNEL(head_gradient_bf16, HeadGradientBf16, kTileThreads, head_gradient)
NIBBLE_KERNEL(head_gradient_f16, HeadGradientF16, kTileThreads, head_gradient)
NIBBLE_KERNEL(head_gradient_rounded_bf16, HeadGradientRoundedBf16, kTileThreads, head_gradient)
NIBBLE_KERNEL(head_gradient_rounded_f16, HeadGradientRoundedF16, kTileThreads, head_gradient)
NIBBLE_KERNEL(round_to_f32, RoundArguments<float>, kLossThreads, round_to)
NIBBLE_KERNEL(round_to_bf16, RoundArguments<bf16>, kLossThreads, round_to)
NIBBLE_KERNEL(round_to_f16, RoundArguments<f16>, kLossThreads, round_to)

}  // namespace nibble::cuda
