using System.Collections.Concurrent;
using Nibble.Bench.Peers;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>A random weight [N, K] in the formats that are compared. Made once and kept, since making one takes longer than a measurement.</summary>
/// <param name="Ready">bfloat16.</param>
/// <param name="Quantized">The same in NF4, double-quantised.</param>
/// <param name="Peer">The same in bitsandbytes' layouts; null where there is no bitsandbytes.</param>
internal sealed record FrozenWeight(Tensor Ready, Nf4Weight Quantized, BitsandbytesWeight? Peer)
{
    /// <summary>The columns of every weight here.</summary>
    public const int K = 4096;

    private static readonly ConcurrentDictionary<(int Rows, int Copy), FrozenWeight> All = new();

    private readonly Tensor dequantized = empty_like(Ready);

    /// <summary>A weight of <paramref name="rows"/> rows; copies lie in memory of their own.</summary>
    public static FrozenWeight Of(int rows, int copy = 0) => All.GetOrAdd((rows, copy), _ =>
    {
        using Tensor values = randn(rows, K) * 0.02;
        Nf4Weight quantized = Nf4.Quantize(values, doubleQuantize: true);
        return new FrozenWeight(quantized.Dequantize(ScalarType.BFloat16), quantized, Bitsandbytes.Load(values));
    });

    /// <summary>Decodes the quantised weight to bfloat16, in the same memory at each call: fresh memory would cost several times the decoding.</summary>
    public Tensor Dequantize()
    {
        Quantized.DequantizeInto(dequantized);
        return dequantized;
    }
}
