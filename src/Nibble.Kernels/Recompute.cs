using Nibble.Kernels.Autograd;
using Nibble.Kernels.Runtime;
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
        return is_grad_enabled() && x.requires_grad ? LayerNode.Apply(x, layer, inputGradient, finished) : layer(x, true);
    }

    private sealed class LayerNode(Func<Tensor, bool, Tensor> layer, bool inputGradient, Action? finished) : GraphNode
    {
        private SavedTensor savedX;

        public static Tensor Apply(Tensor x, Func<Tensor, bool, Tensor> layer, bool inputGradient, Action? finished)
        {
            Tensor y;
            using (no_grad())
            using (DisposeScope scope = NewDisposeScope())
            {
                y = layer(x, true).detach().MoveToOuterDisposeScope(); // A layer may give back its input, which has a history of its own.
            }

            var node = new LayerNode(layer, inputGradient, finished);
            node.Tie([y], [x]);
            node.savedX = node.Save(x);
            return y;
        }

        protected override Tensor?[] Backward(Tensor?[] gradients)
        {
            using DisposeScope scope = NewDisposeScope();
            using Contiguous x = Load(savedX);
            var entry = new Entry();
            using (enable_grad())
            {
                Tensor output = Again(inputGradient ? entry.To(x) : x.Tensor.detach());
                if (output.requires_grad)
                {
                    BackwardPass.Run(output, gradients[0]);
                }
            }

            finished?.Invoke();
            return [entry.Gradient?.MoveToOuterDisposeScope()];
        }

        private Tensor Again(Tensor input)
        {
            using Profiler.Scope pass = Profiler.Pass("recomputation");
            using DisposeScope scope = NewDisposeScope(); // What the graph does not keep is not needed.
            return layer(input, false).MoveToOuterDisposeScope();
        }
    }

    /// <summary>Where the graph of one layer begins. A leaf would do, but libtorch gives that a copy of its gradient.</summary>
    private sealed class Entry : GraphNode
    {
        /// <summary>What came back to the layer's input; belongs to the dispose scope of the backward pass.</summary>
        public Tensor? Gradient { get; private set; }

        public Tensor To(Tensor x)
        {
            Tensor input = x.detach();
            Tie([input], []);
            return input;
        }

        protected override Tensor?[] Backward(Tensor?[] gradients)
        {
            (Gradient, gradients[0]) = (gradients[0], null);
            return [];
        }
    }
}
