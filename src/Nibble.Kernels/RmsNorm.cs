using Nibble.Kernels.Autograd;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>Root-mean-square normalisation (arXiv:1910.07467): <c>y = x / sqrt(mean(x²) + eps) · weight</c> over the last dimension.</summary>
public static class RmsNorm
{
    /// <summary>Applies the layer.</summary>
    /// <param name="x"><c>[..., cols]</c>, float32, bfloat16 or float16.</param>
    /// <param name="weight">float32 <c>[cols]</c>; receives a gradient where it asks for one.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <returns>A tensor like x.</returns>
    public static Tensor Apply(Tensor x, Tensor weight, float epsilon)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(weight);
        CheckWeight(x, weight);
        return is_grad_enabled() && (x.requires_grad || weight.requires_grad)
            ? NormNode.Apply(x, weight, epsilon)
            : Forward(x, update: null, sum: null, weight, epsilon, inverseRms: null);
    }

    /// <summary>Normalises a residual stream that goes on beside the norm: what comes back both ways is summed in the norm's backward pass.</summary>
    /// <param name="x"><c>[..., cols]</c>, float32, bfloat16 or float16: the stream.</param>
    /// <param name="weight">float32 <c>[cols]</c>; receives a gradient where it asks for one.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <returns>The stream and its norm.</returns>
    public static (Tensor Stream, Tensor Normed) ApplyBeside(Tensor x, Tensor weight, float epsilon)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(weight);
        CheckWeight(x, weight);
        if (is_grad_enabled() && (x.requires_grad || weight.requires_grad))
        {
            return NormNode.ApplyBeside(x, weight, epsilon);
        }

        return (x, Forward(x, update: null, sum: null, weight, epsilon, inverseRms: null));
    }

    /// <summary>Adds to a residual stream and normalises the sum, in one pass over memory.</summary>
    /// <param name="x"><c>[..., cols]</c>, float32, bfloat16 or float16: the stream.</param>
    /// <param name="update">Like x: what is added.</param>
    /// <param name="weight">float32 <c>[cols]</c>; receives a gradient where it asks for one.</param>
    /// <param name="epsilon">Added to the mean square.</param>
    /// <returns><c>x + update</c>, rounded to their dtype, and its norm.</returns>
    public static (Tensor Sum, Tensor Normed) ApplyToSum(Tensor x, Tensor update, Tensor weight, float epsilon)
    {
        ArgumentNullException.ThrowIfNull(x);
        ArgumentNullException.ThrowIfNull(update);
        ArgumentNullException.ThrowIfNull(weight);
        CheckWeight(x, weight);
        if (update.dtype != x.dtype || !update.HasShapeOf(x))
        {
            throw new ArgumentException($"RmsNorm needs an update like x, {x.dtype} [{string.Join(", ", x.shape)}], found {update.dtype} [{string.Join(", ", update.shape)}].");
        }

        if (is_grad_enabled() && (x.requires_grad || update.requires_grad || weight.requires_grad))
        {
            return NormNode.ApplyToSum(x, update, weight, epsilon);
        }

        Tensor sum = RoomFor(x);
        return (sum, Forward(x, update, sum, weight, epsilon, inverseRms: null));
    }

    private static void CheckWeight(Tensor x, Tensor weight)
    {
        if (weight.dtype != ScalarType.Float32 || x.size(-1) != weight.NumberOfElements)
        {
            throw new ArgumentException($"RmsNorm needs a float32 weight of {x.shape[^1]} elements, found {weight.NumberOfElements} x {weight.dtype}.");
        }
    }

    private static Tensor Forward(Tensor x, Tensor? update, Tensor? sum, Tensor weight, float epsilon, Tensor? inverseRms)
    {
        using Contiguous input = Contiguous.Of(x);
        using Contiguous added = update is null ? default : Contiguous.Of(update);
        Tensor y = empty_like(input);
        using KernelCall call = KernelCall.On(input, nameof(RmsNorm));
        call.Check(NativeMethods.nibble_rms_norm_forward(
            call.Device,
            (int)DTypes.Of(input),
            call.Address(input, "x"),
            call.AddressOrNull(added, "update"),
            call.Address(weight, "weight"),
            Rows(x),
            x.size(-1),
            epsilon,
            call.AddressOrNull(sum, "sum"),
            call.Address(y, "y"),
            call.AddressOrNull(inverseRms, "inverse rms")));
        return y;
    }

    /// <summary>Room for a tensor of x's shape whose rows follow each other, whatever the order of those of x.</summary>
    private static Tensor RoomFor(Tensor x) => x.is_contiguous() ? empty_like(x) : empty(x.shape, x.dtype, x.device);

    private static long Rows(Tensor x) => x.NumberOfElements / x.size(-1);

    /// <summary>A norm, and where it is one of several outputs, the stream that goes on beside it.</summary>
    private sealed class NormNode(bool ofSum, bool learns) : GraphNode
    {
        private SavedTensor savedX;
        private SavedTensor savedWeight;
        private SavedTensor savedInverseRms;

        public static Tensor Apply(Tensor x, Tensor weight, float epsilon)
        {
            using Tensor inverseRms = InverseRmsOf(x);
            Tensor y = Forward(x, update: null, sum: null, weight, epsilon, inverseRms);
            var node = new NormNode(ofSum: false, weight.requires_grad);
            node.Tie([y], [x, weight]);
            node.Keep(x, weight, inverseRms);
            return y;
        }

        public static (Tensor Stream, Tensor Normed) ApplyBeside(Tensor x, Tensor weight, float epsilon)
        {
            using Tensor inverseRms = InverseRmsOf(x);
            Tensor y = Forward(x, update: null, sum: null, weight, epsilon, inverseRms);
            Tensor stream = x.detach();
            var node = new NormNode(ofSum: false, weight.requires_grad);
            node.Tie([y, stream], [x, weight]);
            node.Keep(x, weight, inverseRms);
            return (stream, y);
        }

        public static (Tensor Sum, Tensor Normed) ApplyToSum(Tensor x, Tensor update, Tensor weight, float epsilon)
        {
            using Tensor inverseRms = InverseRmsOf(x);
            Tensor sum = RoomFor(x);
            Tensor y = Forward(x, update, sum, weight, epsilon, inverseRms);
            var node = new NormNode(ofSum: true, weight.requires_grad);
            node.Tie([y, sum], [x, weight, update]);
            node.Keep(sum, weight, inverseRms);
            return (sum, y);
        }

        /// <summary>The gradient of what was normalised has the stream's added to it.</summary>
        protected override Tensor?[] Backward(Tensor?[] gradients)
        {
            if (gradients[0] is not { } normed)
            {
                return Answer(gradients[1], dweight: null);
            }

            using Contiguous x = Load(savedX);
            using Contiguous weight = Load(savedWeight);
            using Contiguous inverseRms = Load(savedInverseRms);
            using Contiguous dy = Contiguous.Of(normed);
            using Contiguous stream = gradients is [_, { } beside] ? Contiguous.Of(beside) : default;
            Tensor dx = empty_like(x);
            Tensor? dweight = learns ? empty_like(weight) : null;
            using KernelCall call = KernelCall.On(x, "RmsNorm backward");
            call.Check(NativeMethods.nibble_rms_norm_backward(
                call.Device,
                (int)DTypes.Of(x),
                call.Address(x, "x"),
                call.Address(weight, "weight"),
                call.Address(inverseRms, "inverse rms"),
                call.Address(dy, "dy"),
                call.AddressOrNull(stream, "residual"),
                Rows(x),
                x.Tensor.size(-1),
                call.Address(dx, "dx"),
                call.AddressOrNull(dweight, "dweight")));
            return Answer(dx, dweight);
        }

        private static Tensor InverseRmsOf(Tensor x) => empty(Rows(x), ScalarType.Float32, x.device);

        private void Keep(Tensor x, Tensor weight, Tensor inverseRms) => (savedX, savedWeight, savedInverseRms) = (Save(x), Save(weight), Save(inverseRms));

        private Tensor?[] Answer(Tensor? dx, Tensor? dweight) => ofSum ? [dx, dweight, dx] : [dx, dweight];
    }
}
