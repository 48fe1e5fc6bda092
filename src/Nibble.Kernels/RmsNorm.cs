using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>Root-mean-square normalisation (arXiv:1910.07467): <c>y = x / sqrt(mean(x²) + eps) · weight</c> over the last dimension.</summary>
public static class RmsNorm
{
    /// <summary>Applies the layer.</summary>
    /// <param name="x"><c>[..., cols]</c>, float32, bfloat16 or float16.</param>
    /// <param name="weight">float32 <c>[cols]</c>; receives a gradient where it asks for one.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <returns>A tensor like x.</returns>
    public static Tensor Apply(Tensor x, Tensor weight, float epsilon)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(weight);
        CheckWeight(x, weight);
        return is_grad_enabled() && (x.requires_grad || weight.requires_grad)
            ? NormFunction.apply(x, weight, epsilon)
            : Forward(x, update: null, sum: null, weight, epsilon, inverseRms: null);
    }

    /// <summary>Normalises a residual stream that goes on beside the norm: what comes back both ways is summed in the norm's backward pass.</summary>
    /// <param name="x"><c>[..., cols]</c>, float32, bfloat16 or float16: the stream.</param>
    /// <param name="weight">float32 <c>[cols]</c>; receives a gradient where it asks for one.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <returns>The stream and its norm.</returns>
    public static (Tensor Stream, Tensor Normed) ApplyBeside(Tensor x, Tensor weight, float epsilon)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(weight);
        CheckWeight(x, weight);
        if (is_grad_enabled() && (x.requires_grad || weight.requires_grad))
        {
            List<Tensor> both = StreamAndNormFunction.apply(x, weight, epsilon);
            return (both[0], both[1]);
        }

        return (x, Forward(x, update: null, sum: null, weight, epsilon, inverseRms: null));
    }

    /// <summary>Adds to a residual stream and normalises the sum, in one pass over memory.</summary>
    /// <param name="x"><c>[..., cols]</c>, float32, bfloat16 or float16: the stream.</param>
    /// <param name="update">Like x: what is added.</param>
    /// <param name="weight">float32 <c>[cols]</c>; receives a gradient where it asks for one.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <returns><c>x + update</c>, rounded to their dtype, and its norm.</returns>
    public static (Tensor Sum, Tensor Normed) ApplyToSum(Tensor x, Tensor update, Tensor weight, float epsilon)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(update);
        ArgumentNullException.ThrowIfNull(weight);
        CheckWeight(x, weight);
        if (update.dtype != x.dtype || !update.HasShapeOf(x))
        {
            throw new ArgumentException($"RmsNorm needs an update like x, {x.dtype} [{string.Join(", ", x.shape)}], found {update.dtype} [{string.Join(", ", update.shape)}].");
        }

        if (is_grad_enabled() && (x.requires_grad || update.requires_grad || weight.requires_grad))
        {
            List<Tensor> both = SumAndNormFunction.apply(x, update, weight, epsilon);
            return (both[0], both[1]);
        }

        Tensor sum = RoomFor(x);
        return (sum, Forward(x, update, sum, weight, epsilon, inverseRms: null));
    }

    private static void CheckWeight(Tensor x, Tensor weight)
    {
        if (weight.dtype != ScalarType.Float32 || x.size(-1) != weight.NumberOfElements)
        {
            throw new ArgumentException($"RmsNorm needs a float32 weight of {x.shape[^1]} elements, found {weight.NumberOfElements} x {weight.dtype}.");
        }
    }

    private static Tensor Forward(Tensor x, Tensor? update, Tensor? sum, Tensor weight, float epsilon, Tensor? inverseRms)
    {
        using Tensor input = x.contiguous();
        using Tensor? added = update?.contiguous();
        Tensor y = empty_like(input);
        using KernelCall call = KernelCall.On(input, nameof(RmsNorm));
        call.Check(NativeMethods.nibble_rms_norm_forward(
            call.Device,
            (int)DTypes.Of(input),
            call.Address(input, "x"),
            call.AddressOrNull(added, "update"),
            call.Address(weight, "weight"),
            Rows(input),
            input.size(-1),
            epsilon,
            call.AddressOrNull(sum, "sum"),
            call.Address(y, "y"),
            call.AddressOrNull(inverseRms, "inverse rms")));
        return y;
    }

    /// <summary>The gradients of what was normalised, plus the residual's, and of the weight.</summary>
    private static (Tensor Dx, Tensor? Dweight) Backward(autograd.AutogradContext ctx, Tensor gradOutput, Tensor? residual)
    {
        List<Tensor> saved = ctx.get_saved_variables();
        using Tensor x = saved[0].contiguous();
        using Tensor dy = gradOutput.contiguous();
        using Tensor? other = residual?.contiguous();
        Tensor dx = empty_like(x);
        Tensor? dweight = (bool)ctx.get_data("learns") ? empty_like(saved[1]) : null;
        using KernelCall call = KernelCall.On(x, "RmsNorm backward");
        call.Check(NativeMethods.nibble_rms_norm_backward(
            call.Device,
            (int)DTypes.Of(x),
            call.Address(x, "x"),
            call.Address(saved[1], "weight"),
            call.Address(saved[2], "inverse rms"),
            call.Address(dy, "dy"),
            call.AddressOrNull(other, "residual"),
            Rows(x),
            x.size(-1),
            call.Address(dx, "dx"),
            call.AddressOrNull(dweight, "dweight")));
        saved.ForEach(tensor => tensor.Dispose());
        return (dx, dweight);
    }

    /// <summary>Room for a tensor of x's shape whose rows follow each other, whatever the order of those of x.</summary>
    private static Tensor RoomFor(Tensor x) => empty(x.shape, x.dtype, x.device);

    private static long Rows(Tensor x) => x.NumberOfElements / x.size(-1);

    private sealed class NormFunction : autograd.SingleTensorFunction<NormFunction>
    {
        public override string Name => "nibble.rms_norm";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            (var x, var weight) = ((Tensor)vars[0], (Tensor)vars[1]);
            Tensor inverseRms = empty(Rows(x), ScalarType.Float32, x.device);
            ctx.save_for_backward([x, weight, inverseRms]);
            ctx.save_data("learns", weight.requires_grad);
            return Forward(x, update: null, sum: null, weight, (float)vars[2], inverseRms);
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => BackwardPass.Guard(3, () =>
        {
            (Tensor dx, Tensor? dweight) = Backward(ctx, grad_output, residual: null);
            return [dx, dweight!, null!];
        });
    }

    private sealed class StreamAndNormFunction : autograd.MultiTensorFunction<StreamAndNormFunction>
    {
        public override string Name => "nibble.stream_and_rms_norm";

        public override List<Tensor> forward(autograd.AutogradContext ctx, params object[] vars)
        {
            (var x, var weight) = ((Tensor)vars[0], (Tensor)vars[1]);
            Tensor inverseRms = empty(Rows(x), ScalarType.Float32, x.device);
            ctx.save_for_backward([x, weight, inverseRms]);
            ctx.save_data("learns", weight.requires_grad);
            return [x.alias(), Forward(x, update: null, sum: null, weight, (float)vars[2], inverseRms)];
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, List<Tensor> grad_outputs) => BackwardPass.Guard(3, () =>
        {
            (Tensor dx, Tensor? dweight) = Backward(ctx, grad_outputs[1], grad_outputs[0]);
            return [dx, dweight!, null!];
        });
    }

    private sealed class SumAndNormFunction : autograd.MultiTensorFunction<SumAndNormFunction>
    {
        public override string Name => "nibble.sum_and_rms_norm";

        public override List<Tensor> forward(autograd.AutogradContext ctx, params object[] vars)
        {
            (var x, var update, var weight) = ((Tensor)vars[0], (Tensor)vars[1], (Tensor)vars[2]);
            Tensor sum = RoomFor(x);
            Tensor inverseRms = empty(Rows(x), ScalarType.Float32, x.device);
            Tensor y = Forward(x, update, sum, weight, (float)vars[3], inverseRms);
            ctx.save_for_backward([sum, weight, inverseRms]);
            ctx.save_data("learns", weight.requires_grad);
            return [sum, y];
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, List<Tensor> grad_outputs) => BackwardPass.Guard(4, () =>
        {
            (Tensor dx, Tensor? dweight) = Backward(ctx, grad_outputs[1], grad_outputs[0]);
            return [dx, dx, dweight!, null!];
        });
    }
}
