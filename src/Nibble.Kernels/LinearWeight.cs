using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>
/// The weight matrix of a linear layer, <c>[OutFeatures, InFeatures]</c>, in one of the formats that the kernels read.
/// Disposing it frees its tensors.
/// </summary>
public abstract class LinearWeight : IDisposable
{
    private protected LinearWeight(long outFeatures, long inFeatures)
    {
        OutFeatures = outFeatures;
        InFeatures = inFeatures;
    }

    /// <summary>Rows of the matrix: N.</summary>
    public long OutFeatures { get; }

    /// <summary>Columns of the matrix: K.</summary>
    public long InFeatures { get; }

    /// <summary>Bytes that the weight occupies.</summary>
    public abstract long Bytes { get; }

    /// <summary>The whole matrix as a new tensor of <paramref name="dtype"/>; for merging and export, layers never need it.</summary>
    public abstract Tensor Dequantize(ScalarType dtype);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Frees the tensors.</summary>
    protected abstract void Dispose(bool disposing);

    internal abstract NativeMethods.Weight View(in KernelCall call);
}
