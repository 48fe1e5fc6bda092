using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>
/// A linear layer over a frozen weight, NF4 or dense, with an optional low-rank update computed in the same pass:
/// <c>y = x · Wᵀ + b + scale · drop(x) · Aᵀ · Bᵀ</c>. The dequantised weight never exists in memory, forward or backward.
/// </summary>
public static class Linear
{
    /// <summary>Applies the layer.</summary>
    /// <param name="x"><c>[tokens, K]</c>, float32, bfloat16 or float16.</param>
    /// <param name="weight"><c>[N, K]</c>; takes no gradient.</param>
    /// <param name="bias"><c>[N]</c> of x's dtype; takes no gradient.</param>
    /// <param name="update">The adapter; A and B receive gradients.</param>
    /// <param name="outputNeeded">Without it, only what the backward pass needs is made, and the values of the result may be anything.</param>
    /// <returns><c>[tokens, N]</c> of x's dtype.</returns>
    public static Tensor Apply(Tensor x, LinearWeight weight, Tensor? bias = null, LowRank? update = null, bool outputNeeded = true)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(weight);
        bool learns = is_grad_enabled() && (x.requires_grad || update is { A.requires_grad: true } or { B.requires_grad: true });
        if (!learns)
        {
            return Forward(x, weight, bias, update, hidden: null);
        }

        return update is null
            ? FrozenFunction.apply(x, weight, bias is null ? null! : new Frozen(bias), outputNeeded)
            : AdaptedFunction.apply(x, update.A, update.B, weight, bias is null ? null! : new Frozen(bias), update, outputNeeded);
    }

    /// <summary>Without <paramref name="outputNeeded"/> the result is not written, but hidden is.</summary>
    private static unsafe Tensor Forward(Tensor x, LinearWeight weight, Tensor? bias, LowRank? update, Tensor? hidden, bool outputNeeded = true)
    {
        using Tensor input = x.contiguous();
        RequireColumns(input, weight.InFeatures);
        Tensor y = empty(input.shape[0], weight.OutFeatures, input.dtype, input.device);
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
            input.shape[0],
            outputNeeded ? call.Address(y, "y") : 0,
            call.AddressOrNull(hidden, "hidden")));
        return y;
    }

    private static NativeMethods.Lora View(LowRank? update, in KernelCall call) => update is null ? default : new NativeMethods.Lora
    {
        Rank = update.A.shape[0],
        Scale = update.Scale,
        Dropout = update.Dropout?.Rate ?? 0,
        A = call.Address(update.A, "A"),
        B = call.Address(update.B, "B"),
        Seed = update.Dropout?.Seed ?? 0,
        Step = update.Dropout?.Step ?? 0,
        Layer = update.Dropout?.Layer ?? 0,
    };

    private static void RequireColumns(Tensor x, long columns)
    {
        if (x.dim() != 2 || x.shape[1] != columns)
        {
            throw new ArgumentException($"Expected x of [tokens, {columns}], found [{string.Join(", ", x.shape)}].");
        }
    }

    /// <summary>Hides a tensor from the autograd graph: it is data of the node, not an input.</summary>
    private sealed record Frozen(Tensor Value);

    private sealed class FrozenFunction : autograd.SingleTensorFunction<FrozenFunction>
    {
        public override string Name => "nibble.linear";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var weight = (LinearWeight)vars[1];
            ctx.save_data("weight", weight);
            var x = (Tensor)vars[0];
            return Forward(x, weight, (vars[2] as Frozen)?.Value, update: null, hidden: null, (bool)vars[3]);
        }

        public override unsafe List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => BackwardPass.Guard(4, () =>
        {
            var weight = (LinearWeight)ctx.get_data("weight");
            using Tensor dy = grad_output.contiguous();
            Tensor dx = empty(dy.shape[0], weight.InFeatures, dy.dtype, dy.device);
            using KernelCall call = KernelCall.On(dy, "Linear backward");
            NativeMethods.Weight view = weight.View(call);
            call.Check(NativeMethods.nibble_linear_backward(
                call.Device, &view, null, (int)DTypes.Of(dy), 0, 0, call.Address(dy, "dy"), dy.shape[0], call.Address(dx, "dx"), 0, 0));
            return [dx, null!, null!, null!];
        });
    }

    private sealed class AdaptedFunction : autograd.SingleTensorFunction<AdaptedFunction>
    {
        public override string Name => "nibble.lora_linear";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            var x = (Tensor)vars[0];
            var weight = (LinearWeight)vars[3];
            var update = (LowRank)vars[5];
            Tensor hidden = empty(x.shape[0], update.A.shape[0], ScalarType.Float32, x.device);
            ctx.save_for_backward([x, (Tensor)vars[1], (Tensor)vars[2], hidden]);
            ctx.save_data("weight", weight);
            ctx.save_data("update", update);
            ctx.save_data("needs dx", x.requires_grad);
            return Forward(x, weight, (vars[4] as Frozen)?.Value, update, hidden, (bool)vars[6]);
        }

        public override unsafe List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => BackwardPass.Guard(7, () =>
        {
            List<Tensor> saved = ctx.get_saved_variables();
            var weight = (LinearWeight)ctx.get_data("weight");
            var update = (LowRank)ctx.get_data("update");
            using Tensor x = saved[0].contiguous();
            using Tensor dy = grad_output.contiguous();
            Tensor? dx = (bool)ctx.get_data("needs dx") ? empty(dy.shape[0], weight.InFeatures, dy.dtype, dy.device) : null;
            Tensor da = empty_like(saved[1]);
            Tensor db = empty_like(saved[2]);
            using KernelCall call = KernelCall.On(dy, "Linear backward");
            NativeMethods.Weight view = weight.View(call);
            NativeMethods.Lora lora = View(update, call);
            call.Check(NativeMethods.nibble_linear_backward(
                call.Device,
                &view,
                &lora,
                (int)DTypes.Of(dy),
                call.Address(x, "x"),
                call.Address(saved[3], "hidden"),
                call.Address(dy, "dy"),
                dy.shape[0],
                call.AddressOrNull(dx, "dx"),
                call.Address(da, "da"),
                call.Address(db, "db")));
            saved.ForEach(tensor => tensor.Dispose());
            return [dx!, da, db, null!, null!, null!, null!];
        });
    }
}
