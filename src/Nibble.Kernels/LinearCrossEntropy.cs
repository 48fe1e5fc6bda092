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
            return LossFunction.apply(hidden, learning!, head, new Labels(labels));
        }

        return Forward(hidden, head, labels, unitGradient: null).Loss;
    }

    private static unsafe (Tensor Loss, Tensor LogSumExp) Forward(Tensor hidden, LinearWeight head, Tensor labels, Tensor? unitGradient)
    {
        using Tensor input = hidden.contiguous();
        long tokens = input.size(0);
        Tensor loss = empty(tokens, ScalarType.Float32, input.device);
        Tensor logSumExp = empty_like(loss);
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
        return (loss, logSumExp);
    }

    private sealed record Labels(Tensor Values);

    private sealed class LossFunction : autograd.SingleTensorFunction<LossFunction>
    {
        public override string Name => "nibble.linear_cross_entropy";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var hidden = (Tensor)vars[0];
            var head = (LinearWeight)vars[2];
            Tensor labels = ((Labels)vars[3]).Values;
            bool learns = vars[1] is Tensor;
            // The probabilities are at hand in forward, where making the gradient from them saves making the logits again. The head's own
            // gradient needs to know the loss's first.
            Tensor? unitGradient = learns || CudaDevice.Of(hidden) is not null ? null : empty(hidden.shape, hidden.dtype, hidden.device);
            (Tensor loss, Tensor logSumExp) = Forward(hidden, head, labels, unitGradient);
            ctx.save_for_backward(unitGradient is null ? [hidden, labels, logSumExp] : [unitGradient]);
            ctx.save_data("head", head);
            ctx.save_data("learns", learns);
            return loss;
        }

        public override unsafe List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => BackwardPass.Guard(4, () =>
        {
            List<Tensor> saved = ctx.get_saved_variables();
            if (saved is [Tensor unitGradient])
            {
                using Profiler.Scope measured = Profiler.Operator("LinearCrossEntropy backward");
                return [unitGradient.clone().mul_(grad_output.unsqueeze(1)), null!, null!, null!]; // In place, so that the factors stay float32.
            }

            var head = (LinearWeight)ctx.get_data("head");
            using Tensor hidden = saved[0].contiguous();
            using Tensor dloss = grad_output.contiguous();
            Tensor dhidden = empty_like(hidden);
            Tensor? dhead = (bool)ctx.get_data("learns") ? zeros(head.OutFeatures, head.InFeatures, ScalarType.Float32, hidden.device) : null;
            using KernelCall call = KernelCall.On(hidden, "LinearCrossEntropy backward");
            NativeMethods.Weight view = head.View(call);
            call.Check(NativeMethods.nibble_linear_cross_entropy_backward(
                call.Device,
                &view,
                (int)DTypes.Of(hidden),
                call.Address(hidden, "hidden"),
                call.Address(saved[1], "labels"),
                hidden.size(0),
                call.Address(saved[2], "log sum exp"),
                call.Address(dloss, "dloss"),
                call.Address(dhidden, "dhidden"),
                call.AddressOrNull(dhead, "dhead")));
            saved.ForEach(tensor => tensor.Dispose());
            return [dhidden, dhead!, null!, null!];
        });
    }
}
