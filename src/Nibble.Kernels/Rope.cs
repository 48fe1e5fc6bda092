using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>
/// Rotary position embedding (arXiv:2104.09864) in the half-split layout of Hugging Face checkpoints: elements i and i + d/2
/// of a head turn by the angle of (position, i).
/// </summary>
public static class Rope
{
    /// <summary>Turns the heads of <paramref name="x"/>.</summary>
    /// <param name="x"><c>[tokens, heads, head_dim]</c>, float32, bfloat16 or float16.</param>
    /// <param name="cos">float32 <c>[tokens, d / 2]</c>, where d ≤ head_dim is the part of a head that turns.</param>
    /// <param name="sin">float32 <c>[tokens, d / 2]</c>.</param>
    /// <returns>A tensor like x.</returns>
    public static Tensor Apply(Tensor x, Tensor cos, Tensor sin)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(cos);
        ArgumentNullException.ThrowIfNull(sin);
        if (x.dim() != 3 || cos.dim() != 2 || cos.size(0) != x.size(0) || !cos.HasShapeOf(sin))
        {
            throw new ArgumentException(
                $"Rope needs x [tokens, heads, head_dim] and cos, sin [tokens, d / 2]; found [{string.Join(", ", x.shape)}] and [{string.Join(", ", cos.shape)}].");
        }

        var angles = new Angles(cos, sin);
        return is_grad_enabled() && x.requires_grad ? RopeFunction.apply(x, angles) : Turn(x, angles, inverse: false);
    }

    private static Tensor Turn(Tensor x, Angles angles, bool inverse)
    {
        using Tensor input = x.contiguous();
        Tensor y = empty_like(input);
        using KernelCall call = KernelCall.On(input, inverse ? "Rope backward" : nameof(Rope));
        call.Check(NativeMethods.nibble_rope(
            call.Device,
            (int)DTypes.Of(input),
            call.Address(input, "x"),
            call.Address(angles.Cos, "cos"),
            call.Address(angles.Sin, "sin"),
            input.size(0),
            input.size(1),
            input.size(2),
            2 * angles.Cos.size(1),
            inverse ? 1 : 0,
            call.Address(y, "y")));
        return y;
    }

    private sealed record Angles(Tensor Cos, Tensor Sin);

    private sealed class RopeFunction : autograd.SingleTensorFunction<RopeFunction>
    {
        public override string Name => "nibble.rope";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            ctx.save_data("angles", vars[1]);
            return Turn((Tensor)vars[0], (Angles)vars[1], inverse: false);
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) =>
            BackwardPass.Guard(2, () => [Turn(grad_output, (Angles)ctx.get_data("angles"), inverse: true), null!]);
    }
}
