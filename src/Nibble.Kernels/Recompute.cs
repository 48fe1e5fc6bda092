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
    /// <param name="layer">
    /// A function of x and of fixed data, giving the same result at every call. Its second argument says whether the result's values are
    /// needed: in the backward pass only its graph is, so that the layer's last product may be left out.
    /// </param>
    /// <param name="inputGradient">Whether anyone needs the gradient of x; without it x receives none.</param>
    /// <param name="finished">Is called in the backward pass, when the layer's parameters have received their gradients; null for nothing.</param>
    public static Tensor Apply(Tensor x, Func<Tensor, bool, Tensor> layer, bool inputGradient = true, Action? finished = null)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(layer);
        return is_grad_enabled() && x.requires_grad ? LayerFunction.apply(x, layer, inputGradient, finished ?? Nothing) : layer(x, true);
    }

    private static void Nothing()
    {
    }

    private sealed class LayerFunction : autograd.SingleTensorFunction<LayerFunction>
    {
        public override string Name => "nibble.recompute";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var x = (Tensor)vars[0];
            var layer = (Func<Tensor, bool, Tensor>)vars[1];
            ctx.save_for_backward([x]);
            ctx.save_data("layer", layer);
            ctx.save_data("input gradient", vars[2]);
            ctx.save_data("finished", vars[3]);
            using DisposeScope scope = NewDisposeScope();
            return layer(x, true).MoveToOuterDisposeScope();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => BackwardPass.Guard(4, () =>
        {
            using DisposeScope scope = NewDisposeScope();
            bool inputGradient = (bool)ctx.get_data("input gradient");
            Tensor input = ctx.get_saved_variables()[0].detach().requires_grad_(inputGradient);
            using (enable_grad())
            {
                Tensor output = Again((Func<Tensor, bool, Tensor>)ctx.get_data("layer"), input);
                if (output.requires_grad)
                {
                    BackwardPass.Run(output, grad_output);
                }
            }

            ((Action)ctx.get_data("finished"))();
            return [inputGradient ? input.grad!.MoveToOuterDisposeScope() : null!, null!, null!, null!];
        });

        private static Tensor Again(Func<Tensor, bool, Tensor> layer, Tensor input)
        {
            using Profiler.Scope pass = Profiler.Pass("recomputation");
            return layer(input, false);
        }
    }
}
