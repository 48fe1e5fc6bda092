using Nibble.Kernels.Autograd;
using Nibble.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>Rows of a table by their numbers. The gradient of a row that several tokens have is summed in float32, whatever the table's dtype.</summary>
public static class Embedding
{
    /// <summary>Looks rows up.</summary>
    /// <param name="table"><c>[vocab, K]</c>; receives a gradient of its dtype if it asks for one.</param>
    /// <param name="ids">int64 <c>[tokens]</c>.</param>
    /// <returns><c>[tokens, K]</c> of the table's dtype.</returns>
    public static Tensor Apply(Tensor table, Tensor ids)
    {
        ArgumentNullException.ThrowIfNull(table);
        // libtorch's own gradient sums in the table's dtype; of float32 that is as good, and it needs no copy.
        return is_grad_enabled() && table is { requires_grad: true, dtype: not ScalarType.Float32 } ? RowsNode.Apply(table, ids) : table.index_select(0, ids);
    }

    private sealed class RowsNode(long rows) : GraphNode
    {
        private SavedTensor savedIds;

        public static Tensor Apply(Tensor table, Tensor ids)
        {
            Tensor looked;
            using (no_grad())
            {
                looked = table.index_select(0, ids);
            }

            var node = new RowsNode(table.size(0));
            node.Tie([looked], [table]);
            node.savedIds = node.Save(ids);
            return looked;
        }

        protected override Tensor?[] Backward(Tensor?[] gradients)
        {
            using DisposeScope scope = NewDisposeScope();
            Tensor dy = gradients[0]!;
            using Contiguous ids = Load(savedIds);
            (Tensor own, Tensor? places, _) = ids.Tensor.unique(sorted: true, return_inverse: true);
            Tensor sums = zeros(own.size(0), dy.size(1), ScalarType.Float32, dy.device).index_add_(0, places!, dy.to(ScalarType.Float32), Scalars.One);
            Tensor gradient = zeros(rows, dy.size(1), dy.dtype, dy.device);
            return [gradient.index_copy_(0, own, sums.to(dy.dtype)).MoveToOuterDisposeScope()];
        }
    }
}
