using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>The gated activation of Llama's feed-forward block (arXiv:2002.05202): <c>y = silu(gate) · up</c>.</summary>
public static class SwiGlu
{
    /// <summary>Applies the activation to two tensors of one shape and dtype.</summary>
    public static Tensor Apply(Tensor gate, Tensor up)
    {
        ArgumentNullException.ThrowIfNull(gate);
        ArgumentNullException.ThrowIfNull(up);
        if (!gate.HasShapeOf(up) || gate.dtype != up.dtype)
        {
            throw new ArgumentException(
                $"SwiGlu needs two tensors alike; found [{string.Join(", ", gate.shape)}] {gate.dtype} and [{string.Join(", ", up.shape)}] {up.dtype}.");
        }

        return is_grad_enabled() && (gate.requires_grad || up.requires_grad) ? GluFunction.apply(gate, up) : Forward(gate, up);
    }

    private static Tensor Forward(Tensor gate, Tensor up)
    {
        using Tensor g = gate.contiguous();
        using Tensor u = up.contiguous();
        Tensor y = empty_like(g);
        using KernelCall call = KernelCall.On(g, nameof(SwiGlu));
        call.Check(NativeMethods.nibble_swiglu_forward(
            call.Device,
            (int)DTypes.Of(g), call.Address(g, "gate"), call.Address(u, "up"), g.NumberOfElements, call.Address(y, "y")));
        return y;
    }

    private sealed class GluFunction : autograd.SingleTensorFunction<GluFunction>
    {
        public override string Name => "nibble.swiglu";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            (var gate, var up) = ((Tensor)vars[0], (Tensor)vars[1]);
            ctx.save_for_backward([gate, up]);
            return Forward(gate, up);
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => BackwardPass.Guard(2, () =>
        {
            List<Tensor> saved = ctx.get_saved_variables();
            using Tensor gate = saved[0].contiguous();
            using Tensor up = saved[1].contiguous();
            using Tensor dy = grad_output.contiguous();
            Tensor dgate = empty_like(gate);
            Tensor dup = empty_like(up);
            using KernelCall call = KernelCall.On(gate, "SwiGlu backward");
            call.Check(NativeMethods.nibble_swiglu_backward(
                call.Device,
                (int)DTypes.Of(gate),
                call.Address(gate, "gate"),
                call.Address(up, "up"),
                call.Address(dy, "dy"),
                gate.NumberOfElements,
                call.Address(dgate, "dgate"),
                call.Address(dup, "dup")));
            saved.ForEach(tensor => tensor.Dispose());
            return [dgate, dup];
        });
    }
}
