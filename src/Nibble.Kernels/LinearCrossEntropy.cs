using Nibble.Kernels.Autograd;
using Nibble.Kernels.Cuda;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>
/// Cross-entropy straight from hidden states and the output head, in chunks: the logits <c>[tokens, vocab]</c> never exist,
/// forward or backward.
/// </summary>
public static class LinearCrossEntropy
{
    /// <summary>A label that takes no part in the loss.</summary>
    public const long Ignored = -100;

    /// <summary>Negative log-likelihood of every label.</summary>
    /// <param name="hidden"><c>[tokens, K]</c>, float32, bfloat16 or float16; receives a gradient.</param>
    /// <param name="head"><c>[vocab, K]</c>; the values of a <see cref="DenseWeight"/> that asks for a gradient receive it, in float32.</param>
    /// <param name="labels">int64 <c>[tokens]</c>, already shifted; <see cref="Ignored"/> for none.</param>
    /// <returns>float32 <c>[tokens]</c>, zero where ignored.</returns>
    public static Tensor Apply(Tensor hidden, LinearWeight head, Tensor labels)
    {
        ArgumentNullException.ThrowIfNull(hidden);
        ArgumentNullException.ThrowIfNull(head);
        ArgumentNullException.ThrowIfNull(labels);
        if (labels.dtype != ScalarType.Int64 || labels.NumberOfElements != hidden.size(0) || hidden.size(1) != head.InFeatures)
        {
            throw new ArgumentException(
                $"Expected hidden [tokens, {head.InFeatures}] and as many int64 labels; found [{string.Join(", ", hidden.shape)}] and {labels.NumberOfElements} x {labels.dtype}.");
        }

        Tensor? learning = head is DenseWeight { Values: { requires_grad: true } values } ? values : null;
        if (is_grad_enabled() && (hidden.requires_grad || learning is not null))
        {
            return LossNode.Apply(hidden, head, learning, labels);
        }

        using Tensor logSumExp = LogSumExpOf(hidden);
        return Forward(hidden, head, labels, logSumExp, unitGradient: null);
    }

    private static Tensor LogSumExpOf(Tensor hidden) => empty(hidden.size(0), ScalarType.Float32, hidden.device);

    private static unsafe Tensor Forward(Tensor hidden, LinearWeight head, Tensor labels, Tensor logSumExp, Tensor? unitGradient)
    {
        using Contiguous input = Contiguous.Of(hidden);
        long tokens = hidden.size(0);
        Tensor loss = empty(tokens, ScalarType.Float32, hidden.device);
        using KernelCall call = KernelCall.On(input, nameof(LinearCrossEntropy));
        NativeMethods.Weight view = head.View(call);
        call.Check(NativeMethods.nibble_linear_cross_entropy_forward(
            call.Device,
            &view,
            (int)DTypes.Of(input),
            call.Address(input, "hidden"),
            call.Address(labels, "labels"),
            tokens,
            call.Address(loss, "loss"),
            call.Address(logSumExp, "log sum exp"),
            call.AddressOrNull(unitGradient, "unit gradient")));
        return loss;
    }

    private sealed class LossNode(LinearWeight head, bool learns) : GraphNode
    {
        private SavedTensor? savedUnitGradient;
        private SavedTensor savedHidden;
        private SavedTensor savedLabels;
        private SavedTensor savedLogSumExp;

        public static Tensor Apply(Tensor hidden, LinearWeight head, Tensor? learning, Tensor labels)
        {
            // The probabilities are at hand in forward, where making the gradient from them saves making the logits again. The head's own
            // gradient needs to know the loss's first.
            using Tensor? unitGradient = learning is not null || CudaDevice.Of(hidden) is not null ? null : empty(hidden.size(0), hidden.size(1), hidden.dtype, hidden.device);
            using Tensor logSumExp = LogSumExpOf(hidden);
            Tensor loss = Forward(hidden, head, labels, logSumExp, unitGradient);
            var node = new LossNode(head, learning is not null);
            node.Tie([loss], learning is null ? [hidden] : [hidden, learning]);
            if (unitGradient is null)
            {
                (node.savedHidden, node.savedLabels, node.savedLogSumExp) = (node.Save(hidden), node.Save(labels), node.Save(logSumExp));
            }
            else
            {
                node.savedUnitGradient = node.Save(unitGradient);
            }

            return loss;
        }

        protected override Tensor?[] Backward(Tensor?[] gradients) =>
            savedUnitGradient is { } unit ? [ScaleUnitGradient(unit, gradients[0]!)] : MakeAgain(gradients[0]!);

        private Tensor ScaleUnitGradient(SavedTensor saved, Tensor dloss)
        {
            using Profiler.Scope measured = Profiler.Operator("LinearCrossEntropy backward");
            using Contiguous unitGradient = Load(saved);
            using Tensor factors = dloss.unsqueeze(1);
            return unitGradient.Tensor.clone().mul_(factors); // In place, so that the factors stay float32.
        }

        private unsafe Tensor?[] MakeAgain(Tensor gradient)
        {
            using Contiguous hidden = Load(savedHidden);
            using Contiguous labels = Load(savedLabels);
            using Contiguous logSumExp = Load(savedLogSumExp);
            using Contiguous dloss = Contiguous.Of(gradient);
            Tensor dhidden = empty_like(hidden);
            Tensor? dhead = learns ? zeros(head.OutFeatures, head.InFeatures, ScalarType.Float32, gradient.device) : null;
            using KernelCall call = KernelCall.On(hidden, "LinearCrossEntropy backward");
            NativeMethods.Weight view = head.View(call);
            call.Check(NativeMethods.nibble_linear_cross_entropy_backward(
                call.Device,
                &view,
                (int)DTypes.Of(hidden),
                call.Address(hidden, "hidden"),
                call.Address(labels, "labels"),
                gradient.NumberOfElements,
                call.Address(logSumExp, "log sum exp"),
                call.Address(dloss, "dloss"),
                call.Address(dhidden, "dhidden"),
                call.AddressOrNull(dhead, "dhead")));
            return learns ? [dhidden, dhead] : [dhidden];
        }
    }
}
