using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>
/// The shape and dtype of a weight whose values are elsewhere: one element, not a number, stands for all, so that whoever reads the weight
/// before it has got its values cannot miss it.
/// </summary>
public static class Placeholder
{
    /// <summary>One of a shape.</summary>
    public static Tensor Of(ReadOnlySpan<long> shape, ScalarType dtype)
    {
        using DisposeScope scope = NewDisposeScope();
        using Scalar value = double.NaN; // Named, or the collector may free it while libtorch reads it.
        return full(1, value, dtype).expand(shape).MoveToOuterDisposeScope();
    }

    /// <summary>Takes a weight's values, which go if nobody else has them.</summary>
    public static void Vacate(Tensor weight)
    {
        ArgumentNullException.ThrowIfNull(weight);
        using Tensor nothing = Of(weight.shape, weight.dtype);
        Fill(weight, nothing);
    }

    /// <summary>Lends a weight the values of another tensor of its shape and dtype, without a copy.</summary>
    public static void Fill(Tensor weight, Tensor values)
    {
        ArgumentNullException.ThrowIfNull(weight);
        using IDisposable noGrad = no_grad();
        weight.set_(values);
    }
}
