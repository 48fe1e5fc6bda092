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
        return is_grad_enabled() && table is { requires_grad: true, dtype: not ScalarType.Float32 } ? RowsFunction.apply(table, new Numbers(ids)) : table.index_select(0, ids);
    }

    private sealed record Numbers(Tensor Values);

    private sealed class RowsFunction : autograd.SingleTensorFunction<RowsFunction>
    {
        public override string Name => "nibble.embedding";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            (var table, Tensor ids) = ((Tensor)vars[0], ((Numbers)vars[1]).Values);
            ctx.save_for_backward([ids]);
            ctx.save_data("rows", table.size(0));
            return table.index_select(0, ids);
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => BackwardPass.Guard(2, () =>
        {
            using DisposeScope scope = NewDisposeScope();
            (Tensor own, Tensor? places, _) = ctx.get_saved_variables()[0].unique(sorted: true, return_inverse: true);
            Tensor sums = zeros(own.size(0), grad_output.size(1), ScalarType.Float32, grad_output.device).index_add_(0, places!, grad_output.to(ScalarType.Float32), Scalars.One);
            Tensor gradient = zeros((long)ctx.get_data("rows"), grad_output.size(1), grad_output.dtype, grad_output.device);
            return [gradient.index_copy_(0, own, sums.to(grad_output.dtype)).MoveToOuterDisposeScope(), null!];
        });
    }
}
