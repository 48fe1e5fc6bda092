using Nibble.Kernels.Autograd;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>
/// Linear layers over frozen weights, NF4 or dense, with optional low-rank updates computed in the same pass:
/// <c>y = x · Wᵀ + b + scale · drop(x) · Aᵀ · Bᵀ</c>. The dequantised weight never exists in memory, forward or backward.
/// </summary>
public static class Linear
{
    /// <summary>Applies a layer.</summary>
    /// <param name="x"><c>[tokens, K]</c>, float32, bfloat16 or float16.</param>
    /// <param name="weight"><c>[N, K]</c>; takes no gradient.</param>
    /// <param name="bias"><c>[N]</c> of x's dtype; takes no gradient.</param>
    /// <param name="update">The adapter; A and B receive gradients.</param>
    /// <returns><c>[tokens, N]</c> of x's dtype.</returns>
    public static Tensor Apply(Tensor x, LinearWeight weight, Tensor? bias = null, LowRank? update = null) =>
        Apply(x, new Projection(weight, bias, update));

    /// <summary>Applies a layer whose output is added to a residual stream, in the same pass.</summary>
    /// <param name="x"><c>[tokens, K]</c>, float32, bfloat16 or float16.</param>
    /// <param name="projection">The layer.</param>
    /// <param name="residual"><c>[tokens, N]</c> of x's dtype: what the output is added to; null for nothing.</param>
    /// <param name="outputNeeded">Without it, only what the backward pass needs is made, and the values of the result may be anything.</param>
    /// <returns><c>[tokens, N]</c> of x's dtype.</returns>
    public static Tensor Apply(Tensor x, Projection projection, Tensor? residual = null, bool outputNeeded = true)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(projection);
        ArgumentNullException.ThrowIfNull(projection.Weight);
        return is_grad_enabled() && (x.requires_grad || projection.Learns || residual is { requires_grad: true })
            ? LayersNode.Apply(x, residual, outputNeeded, [projection])[0]
            : Forward(x, projection, residual, hidden: null, outputNeeded);
    }

    /// <summary>Applies several layers to one input, whose gradient is then made in one go.</summary>
    /// <param name="x"><c>[tokens, K]</c>, float32, bfloat16 or float16.</param>
    /// <param name="projections">The layers.</param>
    /// <returns>Of each layer <c>[tokens, N]</c> of x's dtype.</returns>
    public static IReadOnlyList<Tensor> Apply(Tensor x, IReadOnlyList<Projection> projections)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(projections);
        return is_grad_enabled() && (x.requires_grad || projections.Any(projection => projection.Learns))
            ? LayersNode.Apply(x, residual: null, outputNeeded: true, projections)
            : [.. projections.Select(projection => Forward(x, projection, residual: null, hidden: null, outputNeeded: true))];
    }

    /// <summary>Without <paramref name="outputNeeded"/> the result is not written, but hidden is.</summary>
    private static unsafe Tensor Forward(Tensor x, Projection projection, Tensor? residual, Tensor? hidden, bool outputNeeded)
    {
        (LinearWeight weight, Tensor? bias, LowRank? update) = projection;
        Require(x, weight.InFeatures);
        Tensor y = empty(x.size(0), weight.OutFeatures, x.dtype, x.device);
        if (residual is not null)
        {
            RequireLike(y, residual);
        }

        if (!outputNeeded && hidden is null)
        {
            return y;
        }

        using Contiguous input = Contiguous.Of(x);
        using Contiguous stream = residual is null ? default : Contiguous.Of(residual);
        using KernelCall call = KernelCall.On(input, nameof(Linear));
        NativeMethods.Weight view = weight.View(call);
        NativeMethods.Lora lora = View(update, call);
        call.Check(NativeMethods.nibble_linear_forward(
            call.Device,
            &view,
            call.AddressOrNull(bias, "bias"),
            update is null ? null : &lora,
            (int)DTypes.Of(input),
            call.Address(input, "x"),
            outputNeeded ? call.AddressOrNull(stream, "residual") : 0,
            x.size(0),
            outputNeeded ? call.Address(y, "y") : 0,
            call.AddressOrNull(hidden, "hidden")));
        return y;
    }

    /// <summary>Writes the gradient of x, where anyone needs it, or adds to it, and gives the adapter's.</summary>
    private static unsafe (Tensor? Da, Tensor? Db) Backward(Projection projection, Tensor gradient, Tensor? x, Tensor? hidden, Tensor? dx, bool adds)
    {
        LowRank? update = projection.Update;
        using Contiguous dy = Contiguous.Of(gradient);
        Tensor? da = update is null ? null : empty_like(update.A);
        Tensor? db = update is null ? null : empty_like(update.B);
        using KernelCall call = KernelCall.On(dy, "Linear backward");
        NativeMethods.Weight view = projection.Weight.View(call);
        NativeMethods.Lora lora = View(update, call);
        call.Check(NativeMethods.nibble_linear_backward(
            call.Device,
            &view,
            update is null ? null : &lora,
            (int)DTypes.Of(dy),
            update is null ? 0 : call.AddressOrNull(x, "x"),
            call.AddressOrNull(hidden, "hidden"),
            call.Address(dy, "dy"),
            adds ? call.AddressOrNull(dx, "dx") : 0,
            gradient.size(0),
            call.AddressOrNull(dx, "dx"),
            call.AddressOrNull(da, "da"),
            call.AddressOrNull(db, "db")));
        return (da, db);
    }

    private static NativeMethods.Lora View(LowRank? update, in KernelCall call) => update is null ? default : new NativeMethods.Lora
    {
        Rank = update.A.size(0),
        Scale = update.Scale,
        Dropout = update.Dropout?.Rate ?? 0,
        A = call.Address(update.A, "A"),
        B = call.Address(update.B, "B"),
        Seed = update.Dropout?.Seed ?? 0,
        Step = update.Dropout?.Step ?? 0,
        Layer = update.Dropout?.Layer ?? 0,
    };

    private static void Require(Tensor x, long columns)
    {
        if (x.dim() != 2 || x.size(1) != columns)
        {
            throw new ArgumentException($"Expected x of [tokens, {columns}], found [{string.Join(", ", x.shape)}].");
        }
    }

    private static void RequireLike(Tensor y, Tensor residual)
    {
        if (residual.dtype != y.dtype || !residual.HasShapeOf(y))
        {
            throw new ArgumentException(
                $"Expected a residual of {y.dtype} [{string.Join(", ", y.shape)}], found {residual.dtype} [{string.Join(", ", residual.shape)}].");
        }
    }

    /// <summary>Layers of one input. Kept for backward are, where a layer has an adapter, x and what each adapter makes of it.</summary>
    private sealed class LayersNode(IReadOnlyList<Projection> projections, bool inputLearns, bool hasResidual) : GraphNode
    {
        private readonly SavedTensor?[] savedHidden = new SavedTensor?[projections.Count];
        private SavedTensor? savedX;

        public static Tensor[] Apply(Tensor x, Tensor? residual, bool outputNeeded, IReadOnlyList<Projection> projections)
        {
            var outputs = new Tensor[projections.Count];
            var hidden = new Tensor?[projections.Count];
            List<Tensor> matrices = [];
            for (int i = 0; i < projections.Count; i++)
            {
                if (projections[i].Update is { } update)
                {
                    hidden[i] = empty(x.size(0), update.A.size(0), ScalarType.Float32, x.device);
                    matrices.AddRange([ViewOf(update.A), ViewOf(update.B)]);
                }

                outputs[i] = Forward(x, projections[i], residual, hidden[i], outputNeeded);
            }

            var node = new LayersNode(projections, x.requires_grad, residual is not null);
            node.Tie(outputs, residual is null ? [x, .. matrices] : [x, residual, .. matrices]);
            node.Keep(x, hidden);
            matrices.ForEach(matrix => matrix.Dispose());
            return outputs;
        }

        protected override Tensor?[] Backward(Tensor?[] gradients)
        {
            using Contiguous x = savedX is { } saved ? Load(saved) : default;
            Tensor? dx = inputLearns ? RoomForInput(gradients) : null;
            List<Tensor?> answer = hasResidual ? [dx, gradients[0]] : [dx];
            bool adds = false;
            for (int i = 0; i < projections.Count; i++)
            {
                (Tensor? da, Tensor? db) = (null, null);
                if (gradients[i] is { } dy)
                {
                    using Contiguous hidden = savedHidden[i] is { } kept ? Load(kept) : default;
                    (da, db) = Linear.Backward(projections[i], dy, x, hidden, dx, adds);
                    adds = true;
                }

                if (projections[i].Update is not null)
                {
                    answer.AddRange([da, db]);
                }
            }

            return [.. answer];
        }

        private void Keep(Tensor x, Tensor?[] hidden)
        {
            for (int i = 0; i < hidden.Length; i++)
            {
                if (hidden[i] is { } made)
                {
                    savedX ??= Save(x);
                    savedHidden[i] = Save(made);
                    made.Dispose();
                }
            }
        }

        /// <summary>
        /// The matrix once more: a gradient that has come through a view is held by nobody else, and libtorch gives it to the parameter as it is,
        /// where it would copy one that managed code still holds.
        /// </summary>
        private static Tensor ViewOf(Tensor matrix) => matrix.view(matrix.size(0), matrix.size(1));

        private Tensor RoomForInput(Tensor?[] gradients)
        {
            Tensor dy = gradients.First(gradient => gradient is not null)!;
            return empty(dy.size(0), projections[0].Weight.InFeatures, dy.dtype, dy.device);
        }
    }
}
