using Nibble.Kernels.Autograd;
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
        return is_grad_enabled() && x.requires_grad ? RopeNode.Apply(x, angles) : Turn(x, angles, inverse: false);
    }

    private static Tensor Turn(Tensor x, Angles angles, bool inverse)
    {
        using Contiguous input = Contiguous.Of(x);
        Tensor y = empty_like(input);
        using KernelCall call = KernelCall.On(input, inverse ? "Rope backward" : nameof(Rope));
        call.Check(NativeMethods.nibble_rope(
            call.Device,
            (int)DTypes.Of(input),
            call.Address(input, "x"),
            call.Address(angles.Cos, "cos"),
            call.Address(angles.Sin, "sin"),
            x.size(0),
            x.size(1),
            x.size(2),
            2 * angles.Cos.size(1),
            inverse ? 1 : 0,
            call.Address(y, "y")));
        return y;
    }

    private sealed record Angles(Tensor Cos, Tensor Sin);

    private sealed class RopeNode(Angles angles) : GraphNode
    {
        public static Tensor Apply(Tensor x, Angles angles)
        {
            Tensor y = Turn(x, angles, inverse: false);
            new RopeNode(angles).Tie([y], [x]);
            return y;
        }

        protected override Tensor?[] Backward(Tensor?[] gradients) => [Turn(gradients[0]!, angles, inverse: true)];
    }
}
