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
        if (weight.dtype != ScalarType.Float32 || x.shape[^1] != weight.NumberOfElements)
        {
            throw new ArgumentException($"RmsNorm needs a float32 weight of {x.shape[^1]} elements, found {weight.NumberOfElements} x {weight.dtype}.");
        }

        return is_grad_enabled() && (x.requires_grad || weight.requires_grad)
            ? NormFunction.apply(x, weight, epsilon)
            : Forward(x, weight, epsilon, inverseRms: null);
    }

    private static Tensor Forward(Tensor x, Tensor weight, float epsilon, Tensor? inverseRms)
    {
        using Tensor input = x.contiguous();
        Tensor y = empty_like(input);
        using KernelCall call = KernelCall.On(input, nameof(RmsNorm));
        call.Check(NativeMethods.nibble_rms_norm_forward(
            call.Device,
            (int)DTypes.Of(input),
            call.Address(input, "x"),
            call.Address(weight, "weight"),
            Rows(input),
            input.shape[^1],
            epsilon,
            call.Address(y, "y"),
            call.AddressOrNull(inverseRms, "inverse rms")));
        return y;
    }

    private static long Rows(Tensor x) => x.NumberOfElements / x.shape[^1];

    private sealed class NormFunction : autograd.SingleTensorFunction<NormFunction>
    {
        public override string Name => "nibble.rms_norm";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            (var x, var weight) = ((Tensor)vars[0], (Tensor)vars[1]);
            Tensor inverseRms = empty(Rows(x), ScalarType.Float32, x.device);
            ctx.save_for_backward([x, weight, inverseRms]);
            ctx.save_data("learns", weight.requires_grad);
            return Forward(x, weight, (float)vars[2], inverseRms);
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => BackwardPass.Guard(3, () =>
        {
            List<Tensor> saved = ctx.get_saved_variables();
            using Tensor x = saved[0].contiguous();
            using Tensor dy = grad_output.contiguous();
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
                Rows(x),
                x.shape[^1],
                call.Address(dx, "dx"),
                call.AddressOrNull(dweight, "dweight")));
            saved.ForEach(tensor => tensor.Dispose());
            return [dx, dweight!, null!];
        });
    }
}
