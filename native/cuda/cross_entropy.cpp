#include "cross_entropy.h"

#include <algorithm>

#include "launch.h"
#include "operators.h"
#include "tile_size.h"

namespace nibble::cuda {

namespace {

// 2048 x 4096 float32 logits are 32 MiB: enough work for the largest chip, and small beside a model.
constexpr int64_t kTokenChunk = 2048;
constexpr int64_t kVocabSlice = 4096;

constexpr int kLossShared = kLossThreads / 32 * 4;

// Calls body(first token, tokens) for each chunk of tokens.
template <typename Body>
void for_each_chunk(int64_t tokens, Body&& body) {
    for (int64_t first = 0; first < tokens; first += kTokenChunk) {
        body(first, std::min(kTokenChunk, tokens - first));
    }
}

// Calls body(first entry, entries, logits) for each slice of the vocabulary, whose logits of these tokens are ready.
template <typename T, typename Body>
void for_each_slice(const nibble_weight& head, nibble_dtype dtype, const T* hidden, int64_t tokens,
                    Global<float> workspace, Body&& body) {
    for (int64_t first = 0; first < head.rows; first += kVocabSlice) {
        const int64_t slice = std::min(kVocabSlice, head.rows - first);
        const Global<float> logits{workspace.data, tokens * slice};
        linear_logits(head, first, slice, dtype, hidden, tokens, logits);
        body(first, slice, logits);
    }
}

Global<float> logits_workspace(const nibble_weight& head, int64_t tokens) {
    return workspace<float>(std::min(kTokenChunk, tokens) * std::min(kVocabSlice, head.rows));
}

}  // namespace

void cross_entropy_forward(const nibble_weight& head, nibble_dtype dtype, const void* hidden, const int64_t* labels,
                           int64_t tokens, float* loss, float* log_sum_exp, void*) {
    const Global<float> space = logits_workspace(head, tokens);
    const int64_t chunk = std::min(kTokenChunk, tokens);
    const Global<float> state = workspace<float>(3 * chunk);
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        for_each_chunk(tokens, [&](int64_t t, int64_t rows) {
            const Global<const int64_t> targets{labels + t, rows};
            const RunningView running{{state.data, rows}, {state.data + chunk, rows}, {state.data + 2 * chunk, rows}};
            const Grid by_token{ceil_div(rows, kLossThreads)};
            launch("loss_begin_tokens", by_token, kLossThreads, 0, LossBeginArguments{running});
            for_each_slice(head, dtype, static_cast<const T*>(hidden) + t * head.cols, rows, space,
                           [&](int64_t first, int64_t slice, Global<float> logits) {
                               launch("loss_merge_slice", {rows}, kLossThreads, kLossShared,
                                      LossMergeArguments{{logits.data, logits.count}, targets, first, slice, running});
                           });
            launch("loss_finish_tokens", by_token, kLossThreads, 0,
                   LossFinishArguments{running, targets, {loss + t, rows}, {log_sum_exp + t, rows}});
        });
    });
}

void cross_entropy_backward(const nibble_weight& head, nibble_dtype dtype, const void* hidden, const int64_t* labels,
                            int64_t tokens, const float* log_sum_exp, const float* loss_grad, void* dhidden,
                            float* dhead) {
    const int64_t k = head.cols;
    const Global<float> space = logits_workspace(head, tokens);
    const Global<float> sums = workspace<float>(std::min(kTokenChunk, tokens) * k);
    with_type(dtype, [&](auto type) {
        using T = decltype(type);
        for_each_chunk(tokens, [&](int64_t t, int64_t rows) {
            const T* inputs = static_cast<const T*>(hidden) + t * k;
            const Global<float> gradient{sums.data, rows * k};
            const Grid by_element{std::min<int64_t>(ceil_div(rows * k, kLossThreads), 4096)};
            launch("round_to_f32", by_element, kLossThreads, 0, RoundArguments<float>{{}, gradient});
            for_each_slice(head, dtype, inputs, rows, space, [&](int64_t first, int64_t slice, Global<float> logits) {
                const LogitGradientArguments to_gradient{
                    logits, {labels + t, rows}, {log_sum_exp + t, rows}, {loss_grad + t, rows}, first, slice};
                const bool rounded = has_logits_backward(head, slice, dtype, rows);
                if (rounded) {
                    launch(typed("logit_gradient_rounded", dtype), {rows}, kLossThreads, 0, to_gradient);
                    linear_logits_backward(head, first, slice, dtype, logits.data, 2 * slice, rows, gradient);
                } else {
                    launch("logit_gradient_slice", {ceil_div(slice, kLossThreads), rows}, kLossThreads, 0, to_gradient);
                    launch(
                        "hidden_gradient_slice", {ceil_div(k, 64), ceil_div(rows, 64)}, kTileThreads, kWideTileShared,
                        HiddenGradientArguments{view(head), {logits.data, logits.count}, first, slice, rows, gradient});
                }
                if (dhead != nullptr) {
                    const auto accumulate = [&](const char* kernel, auto dlogits, int64_t stride) {
                        launch(
                            typed(kernel, dtype), {ceil_div(k, 64), ceil_div(slice, 64)}, kTileThreads, kWideTileShared,
                            HeadGradientArguments<T,
                                                  std::remove_const_t<std::remove_pointer_t<decltype(dlogits.data)>>>{
                                dlogits, stride, {inputs, rows * k}, first, slice, rows, k, {dhead, head.rows * k}});
                    };
                    if (rounded) {
                        accumulate("head_gradient_rounded", span<const T>(logits.data, 2 * logits.count), 2 * slice);
                    } else {
                        accumulate("head_gradient", Global<const float>{logits.data, logits.count}, slice);
                    }
                }
            });
            launch(typed("round_to", dtype), by_element, kLossThreads, 0,
                   RoundArguments<T>{{gradient.data, gradient.count}, {static_cast<T*>(dhidden) + t * k, rows * k}});
        });
    });
}

}  // namespace nibble::cuda
