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
            ? LayersFunction.apply(Inputs(x, residual, outputNeeded, [projection]))[0]
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
            ? LayersFunction.apply(Inputs(x, residual: null, outputNeeded: true, projections))
            : [.. projections.Select(projection => Forward(x, projection, residual: null, hidden: null, outputNeeded: true))];
    }

    /// <summary>The matrices of the adapters follow the four others.</summary>
    private static object[] Inputs(Tensor x, Tensor? residual, bool outputNeeded, IReadOnlyList<Projection> projections)
    {
        List<object> inputs = [x, residual!, outputNeeded, projections];
        foreach (LowRank update in projections.Select(projection => projection.Update).OfType<LowRank>())
        {
            inputs.Add(update.A);
            inputs.Add(update.B);
        }

        return [.. inputs];
    }

    /// <summary>Without <paramref name="outputNeeded"/> the result is not written, but hidden is.</summary>
    private static unsafe Tensor Forward(Tensor x, Projection projection, Tensor? residual, Tensor? hidden, bool outputNeeded)
    {
        (LinearWeight weight, Tensor? bias, LowRank? update) = projection;
        using Tensor input = x.contiguous();
        using Tensor? stream = residual?.contiguous();
        Require(input, weight.InFeatures);
        Tensor y = empty(input.size(0), weight.OutFeatures, input.dtype, input.device);
        if (stream is not null)
        {
            RequireLike(y, stream);
        }

        if (!outputNeeded && hidden is null)
        {
            return y;
        }

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
            input.size(0),
            outputNeeded ? call.Address(y, "y") : 0,
            call.AddressOrNull(hidden, "hidden")));
        return y;
    }

    /// <summary>Writes the gradient of x, where anyone needs it, or adds to it, and gives the adapter's.</summary>
    private static unsafe (Tensor? Da, Tensor? Db) Backward(Projection projection, Tensor gradient, Tensor? x, Tensor? hidden, Tensor? dx, bool adds)
    {
        LowRank? update = projection.Update;
        using Tensor dy = gradient.contiguous();
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
            call.AddressOrNull(x, "x"),
            call.AddressOrNull(hidden, "hidden"),
            call.Address(dy, "dy"),
            adds ? call.AddressOrNull(dx, "dx") : 0,
            dy.size(0),
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

    /// <summary>Layers of one input. Kept for backward are, where a layer has an adapter, x and then what each adapter makes of it.</summary>
    private sealed class LayersFunction : autograd.MultiTensorFunction<LayersFunction>
    {
        private const int Fixed = 4;

        public override string Name => "nibble.linear";

        public override List<Tensor> forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var x = (Tensor)vars[0];
            var residual = vars[1] as Tensor;
            var projections = (IReadOnlyList<Projection>)vars[3];
            List<Tensor> kept = vars.Length > Fixed ? [x] : [];
            var outputs = new List<Tensor>(projections.Count);
            foreach (Projection projection in projections)
            {
                Tensor? hidden = projection.Update is null ? null : empty(x.size(0), projection.Update.A.size(0), ScalarType.Float32, x.device);
                if (hidden is not null)
                {
                    kept.Add(hidden);
                }

                outputs.Add(Forward(x, projection, residual, hidden, (bool)vars[2]));
            }

            if (kept.Count > 0)
            {
                ctx.save_for_backward(kept);
            }

            ctx.save_data("projections", projections);
            ctx.save_data("inputs", vars.Length);
            ctx.save_data("needs dx", x.requires_grad);
            ctx.save_data("needs residual", residual is { requires_grad: true });
            return outputs;
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, List<Tensor> grad_outputs) => BackwardPass.Guard((int)ctx.get_data("inputs"), () =>
        {
            var projections = (IReadOnlyList<Projection>)ctx.get_data("projections");
            int inputs = (int)ctx.get_data("inputs");
            List<Tensor> kept = inputs > Fixed ? ctx.get_saved_variables() : [];
            using Tensor? x = kept.Count > 0 ? kept[0].contiguous() : null;
            Tensor first = grad_outputs[0];
            Tensor? dx = (bool)ctx.get_data("needs dx") ? empty(first.size(0), projections[0].Weight.InFeatures, first.dtype, first.device) : null;
            var gradients = new List<Tensor>(inputs) { dx!, (bool)ctx.get_data("needs residual") ? first : null!, null!, null! };
            int adapters = 0;
            for (int i = 0; i < projections.Count; i++)
            {
                bool adapted = projections[i].Update is not null;
                (Tensor? da, Tensor? db) = Backward(projections[i], grad_outputs[i], adapted ? x : null, adapted ? kept[++adapters] : null, dx, adds: i > 0);
                if (adapted)
                {
                    gradients.Add(da!);
                    gradients.Add(db!);
                }
            }

            kept.ForEach(tensor => tensor.Dispose());
            return gradients;
        });
    }
}
