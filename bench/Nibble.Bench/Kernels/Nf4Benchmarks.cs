using BenchmarkDotNet.Attributes;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>Quantising and dequantising a bfloat16 weight [4096, 4096], into memory that is there.</summary>
public class Nf4Benchmarks : CopyBenchmark
{
    private const int Features = FrozenWeight.K;
    private const long Count = (long)Features * Features;
    private const int BFloat16 = 1;

    private FrozenWeight weight = null!;
    private Tensor packed = null!;
    private Tensor absmax = null!;

    private protected override long Footprint => (Count * 5 / 2) + (Count / 16);

    internal override bool HasPeer(string method) => method is nameof(Dequantize) or nameof(BitsandbytesDequantize);

    [Benchmark]
    public void Quantize() => LibNibble.Check(NativeMethods.nibble_nf4_quantize(0, BFloat16, Address(weight.Ready), Count, Address(packed), Address(absmax)));

    [Benchmark]
    public Tensor Dequantize() => weight.Dequantize();

    [Benchmark(Baseline = true)]
    public Tensor BitsandbytesDequantize() => weight.Peer!.Dequantize();

    private protected override void MakeTensors()
    {
        weight = FrozenWeight.Of(Features);
        packed = empty(Count / 2, ScalarType.Byte);
        absmax = empty(Count / 64);
    }

    private protected override double Bytes(string method) => Footprint;
}
