using Nibble.Kernels.Autograd;
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

        return is_grad_enabled() && (gate.requires_grad || up.requires_grad) ? GluNode.Apply(gate, up) : Forward(gate, up);
    }

    private static Tensor Forward(Tensor gate, Tensor up)
    {
        using Contiguous g = Contiguous.Of(gate);
        using Contiguous u = Contiguous.Of(up);
        Tensor y = empty_like(g);
        using KernelCall call = KernelCall.On(g, nameof(SwiGlu));
        call.Check(NativeMethods.nibble_swiglu_forward(
            call.Device,
            (int)DTypes.Of(g), call.Address(g, "gate"), call.Address(u, "up"), gate.NumberOfElements, call.Address(y, "y")));
        return y;
    }

    private sealed class GluNode : GraphNode
    {
        private SavedTensor savedGate;
        private SavedTensor savedUp;

        public static Tensor Apply(Tensor gate, Tensor up)
        {
            Tensor y = Forward(gate, up);
            var node = new GluNode();
            node.Tie([y], [gate, up]);
            node.savedGate = node.Save(gate);
            node.savedUp = node.Save(up);
            return y;
        }

        protected override Tensor?[] Backward(Tensor?[] gradients)
        {
            using Contiguous gate = Load(savedGate);
            using Contiguous up = Load(savedUp);
            using Contiguous dy = Contiguous.Of(gradients[0]!);
            Tensor dgate = empty_like(gate);
            Tensor dup = empty_like(up);
            using KernelCall call = KernelCall.On(gate, "SwiGlu backward");
            call.Check(NativeMethods.nibble_swiglu_backward(
                call.Device,
                (int)DTypes.Of(gate),
                call.Address(gate, "gate"),
                call.Address(up, "up"),
                call.Address(dy, "dy"),
                dy.Tensor.NumberOfElements,
                call.Address(dgate, "dgate"),
                call.Address(dup, "dup")));
            return [dgate, dup];
        }
    }
}
