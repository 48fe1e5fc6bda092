using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>An unquantised weight in float32, bfloat16 or float16.</summary>
public sealed class DenseWeight : LinearWeight
{
    /// <summary>Takes over <paramref name="values"/>, <c>[N, K]</c> and contiguous.</summary>
    /// <exception cref="ArgumentException">The tensor is not a contiguous matrix of a dtype the kernels read.</exception>
    public DenseWeight(Tensor values)
        : base(RowsOf(values), values.size(1))
    {
        Values = values;
    }

    /// <summary>The matrix.</summary>
    public Tensor Values { get; }

    /// <inheritdoc/>
    public override long Bytes => Values.NumberOfElements * Values.ElementSize;

    /// <inheritdoc/>
    public override Tensor Dequantize(ScalarType dtype)
    {
        using Tensor frozen = Values.detach(); // Until it is collected, it would hold a mapped file and the pages that were read of it.
        return frozen.to(dtype, copy: true);
    }

    internal override NativeMethods.Weight View(in KernelCall call) => new()
    {
        Rows = OutFeatures,
        Cols = InFeatures,
        Format = (int)DTypes.Of(Values),
        Data = call.Address(Values, "weight"),
    };

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => Values.Dispose();

    private static long RowsOf(Tensor values)
    {
        ArgumentNullException.ThrowIfNull(values);
        bool standsForOthers = values.NumberOfElements > 1 && values.stride().All(step => step == 0); // Of values that come when they are needed.
        if (values.dim() != 2 || !(values.is_contiguous() || standsForOthers))
        {
            throw new ArgumentException($"A weight is a contiguous matrix [N, K]; found [{string.Join(", ", values.shape)}].");
        }

        _ = DTypes.Of(values);
        return values.size(0);
    }
}
