using BenchmarkDotNet.Attributes;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench;

/// <summary>y = x · W^T in bfloat16 with W [4096, 4096] in NF4, against libtorch (oneDNN) on weights dequantised at each call, and on ready ones.</summary>
public class LinearBenchmarks
{
    private const int Features = 4096;
    private const int Rank = 16;

    private Tensor x = null!;
    private Tensor ready = null!;
    private Nf4Weight weight = null!;
    private LowRank adapter = null!;

    /// <summary>Rows of x: tokens of a batch.</summary>
    [Params(1, 8, 64, 512)]
    public int M { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        using Tensor values = randn(Features, Features) * 0.02;
        weight = Nf4.Quantize(values, doubleQuantize: true);
        ready = weight.Dequantize(ScalarType.BFloat16);
        x = randn(M, Features).to(ScalarType.BFloat16);
        adapter = new LowRank(randn(Rank, Features), randn(Features, Rank), 1);
    }

    [Benchmark(Baseline = true)]
    public void DequantizeThenLibtorch()
    {
        using Tensor values = weight.Dequantize(ScalarType.BFloat16);
        using Tensor y = nn.functional.linear(x, values);
    }

    [Benchmark]
    public void LibtorchOnReadyWeights()
    {
        using Tensor y = nn.functional.linear(x, ready);
    }

    [Benchmark]
    public void Nf4Linear()
    {
        using Tensor y = Linear.Apply(x, weight);
    }

    [Benchmark]
    public void Nf4LinearWithAdapter()
    {
        using Tensor y = Linear.Apply(x, weight, update: adapter);
    }
}
