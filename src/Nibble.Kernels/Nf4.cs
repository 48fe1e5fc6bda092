using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels;

/// <summary>Quantisation to NormalFloat-4 (arXiv:2305.14314).</summary>
public static class Nf4
{
    /// <summary>Elements that share one scale.</summary>
    public const int Block = 64;

    /// <summary>Scales that share one scale of their own when double-quantised.</summary>
    public const int AbsmaxBlock = 256;

    /// <summary>The 16 values a nibble stands for, ascending: float32 <c>[16]</c>.</summary>
    public static Tensor Code() => CopyOf(NativeMethods.nibble_nf4_code(), 16);

    /// <summary>The 256 values that a code of a double-quantised scale stands for, ascending: float32 <c>[256]</c>.</summary>
    public static Tensor DynamicMap() => CopyOf(NativeMethods.nibble_dynamic_map_signed(), 256);

    /// <summary>Quantises a matrix <c>[N, K]</c> of float32, bfloat16 or float16; the argument stays the caller's.</summary>
    /// <param name="weight">The matrix.</param>
    /// <param name="doubleQuantize">Whether the scales are quantised as well (0.37 bits a parameter less).</param>
    /// <exception cref="ArgumentException">A value is not finite, or the tensor is not a matrix.</exception>
    public static Nf4Weight Quantize(Tensor weight, bool doubleQuantize)
    {
        ArgumentNullException.ThrowIfNull(weight);
        if (weight.dim() != 2)
        {
            throw new ArgumentException($"NF4 quantises matrices [N, K]; found [{string.Join(", ", weight.shape)}].");
        }

        (long rows, long cols) = (weight.size(0), weight.size(1));
        using Tensor source = weight.detach().contiguous();
        Tensor packed = empty(((rows * cols) + 1) / 2, ScalarType.Byte, source.device);
        Tensor absmax = empty(Blocks(rows, cols), ScalarType.Float32, source.device);
        using (KernelCall call = KernelCall.On(source, "Quantize"))
        {
            call.Check(NativeMethods.nibble_nf4_quantize(
                call.Device, (int)DTypes.Of(source), call.Address(source, "weight"), rows * cols, call.Address(packed, "packed"), call.Address(absmax, "absmax")));
        }

        if (!doubleQuantize)
        {
            return Nf4Weight.FromParts(rows, cols, packed, absmax);
        }

        using (absmax)
        {
            (Tensor codes, Tensor nested, float offset) = QuantizeScales(absmax);
            return Nf4Weight.FromParts(rows, cols, packed, codes, nested, offset);
        }
    }

    /// <summary>On the CPU wherever the scales lie: they are a sixty-fourth of the weights.</summary>
    private static unsafe (Tensor Codes, Tensor Nested, float Offset) QuantizeScales(Tensor absmax)
    {
        long blocks = absmax.NumberOfElements;
        using Tensor scales = absmax.cpu();
        using Tensor codes = empty(blocks, ScalarType.Byte);
        using Tensor nested = empty((blocks + AbsmaxBlock - 1) / AbsmaxBlock, ScalarType.Float32);
        float offset;
        LibNibble.Check(NativeMethods.nibble_nf4_quantize_absmax(
            TensorMemory.Address(scales, "absmax"), blocks, TensorMemory.Address(codes, "codes"), TensorMemory.Address(nested, "nested"), &offset));
        return (codes.to(absmax.device), nested.to(absmax.device), offset);
    }

    internal static long Blocks(long rows, long cols) => ((rows * cols) + Block - 1) / Block;

    private static unsafe Tensor CopyOf(nint values, int count) => tensor(new ReadOnlySpan<float>((void*)values, count).ToArray());
}
