using BenchmarkDotNet.Attributes;
using Nibble.Bench.Peers;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>Quantising and dequantising a bfloat16 weight [4096, 4096].</summary>
public class Nf4Benchmarks : CopyBenchmark
{
    private const int Features = 4096;
    private const double Count = (double)Features * Features;

    private Tensor values = null!;
    private Nf4Weight weight = null!;
    private BitsandbytesWeight? peer;

    private protected override long Footprint => (long)(2.5 * Count);

    [Benchmark]
    public void Quantize() => Nf4.Quantize(values, doubleQuantize: false).Dispose();

    [Benchmark]
    public void Dequantize() => weight.Dequantize(ScalarType.BFloat16).Dispose();

    [Benchmark(Baseline = true)]
    public void BitsandbytesDequantize() => peer!.Dequantize().Dispose();

    private protected override void MakeTensors()
    {
        values = randn(Features, Features).to(ScalarType.BFloat16);
        weight = Nf4.Quantize(values, doubleQuantize: false);
        peer = Bitsandbytes.Load(values);
    }

    private protected override double Bytes(string method) => 2.5625 * Count;
}
