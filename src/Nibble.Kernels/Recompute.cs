using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>
/// Gradient checkpointing (arXiv:1604.06174) as the shape of a decoder layer: one graph node that keeps the layer's input and
/// runs the layer again inside the backward pass. Gradients equal those of the plain layer to the bit.
/// </summary>
public static class Recompute
{
    /// <summary>Applies <paramref name="layer"/>; parameters that it closes over receive their gradients during backward.</summary>
    /// <param name="x">The layer's input; must ask for a gradient for the layer's parameters to learn.</param>
    /// <param name="layer">A function of x and of fixed data, giving the same result at every call.</param>
    public static Tensor Apply(Tensor x, Func<Tensor, Tensor> layer)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(layer);
        return is_grad_enabled() && x.requires_grad ? LayerFunction.apply(x, layer) : layer(x);
    }

    private sealed class LayerFunction : autograd.SingleTensorFunction<LayerFunction>
    {
        public override string Name => "nibble.recompute";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var x = (Tensor)vars[0];
            var layer = (Func<Tensor, Tensor>)vars[1];
            ctx.save_for_backward([x]);
            ctx.save_data("layer", layer);
            using DisposeScope scope = NewDisposeScope();
            return layer(x).MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => BackwardPass.Guard(2, () =>
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor input = ctx.get_saved_variables()[0].detach().requires_grad_();
            using (enable_grad())
            {
                BackwardPass.Run(Again((Func<Tensor, Tensor>)ctx.get_data("layer"), input), grad_output);
            }

            return [input.grad!.MoveToOuterDisposeScope(), null!];
        });

        private static Tensor Again(Func<Tensor, Tensor> layer, Tensor input)
        {
            using Profiler.Scope pass = Profiler.Pass("recomputation");
            return layer(input);
        }
    }
}
