// Arguments of the loss's kernels. `logits` is always one chunk of tokens by one slice of the vocabulary.
#pragma once

#include "weight.h"

namespace nibble::cuda {

inline constexpr int kLossThreads = 256;

// What is known of a token after some slices: the largest logit, the sum of exp(logit - largest), the target's logit.
struct RunningView {
    Global<float> largest;
    Global<float> sum;
    Global<float> target;
};

struct LossBeginArguments {
    RunningView running;
};

struct LossMergeArguments {
    Global<const float> logits;  // [tokens, slice]
    Global<const int64_t> labels;
    int64_t first;  // The slice's first entry of the vocabulary.
    int64_t slice;
    RunningView running;
};

struct LossFinishArguments {
    RunningView running;
    Global<const int64_t> labels;
    Global<float> loss;
    Global<float> log_sum_exp;
};

// Turns logits into their gradient, in place: in float32, or in the element type, in which a token's row then fills the
// first half of its place.
struct LogitGradientArguments {
    Global<float> logits;
    Global<const int64_t> labels;
    Global<const float> log_sum_exp;
    Global<const float> loss_grad;
    int64_t first;
    int64_t slice;
};

// dhidden[tokens, K] += gradient * head[first .. first + slice), in float32.
struct HiddenGradientArguments {
    WeightView head;
    Global<const float> gradient;
    int64_t first;
    int64_t slice;
    int64_t tokens;
    Global<float> dhidden;
};

// dhead[first + i, K] += gradient^T * hidden; `stride` elements lie between the tokens of the gradient.
template <typename T, typename Gradient>
struct HeadGradientArguments {
    Global<const Gradient> gradient;
    int64_t stride;
    Global<const T> hidden;
    int64_t first;
    int64_t slice;
    int64_t tokens;
    int64_t k;
    Global<float> dhead;
};

template <typename T>
struct RoundArguments {
    Global<const float> src;
    Global<T> dst;
};

}  // namespace nibble::cuda
