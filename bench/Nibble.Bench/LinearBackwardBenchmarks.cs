using BenchmarkDotNet.Attributes;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench;

/// <summary>Forward and backward of a linear layer with a frozen weight [4096, 4096]: what a decoder layer does seven times.</summary>
public class LinearBackwardBenchmarks
{
    private const int Features = 4096;
    private const int Rank = 16;

    private Tensor x = null!;
    private Tensor gradient = null!;
    private Nf4Weight weight = null!;
    private LowRank adapter = null!;

    /// <summary>Rows of x: tokens of a batch.</summary>
    [Params(64, 512)]
    public int M { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        using Tensor values = randn(Features, Features) * 0.02;
        weight = Nf4.Quantize(values, doubleQuantize: true);
        x = randn(M, Features).to(ScalarType.BFloat16).requires_grad_(true);
        gradient = randn(M, Features).to(ScalarType.BFloat16);
        adapter = new LowRank(randn(Rank, Features).requires_grad_(true), randn(Features, Rank).requires_grad_(true), 1);
    }

    /// <summary>Dequantises in forward and again in backward, as bitsandbytes does when it trains.</summary>
    [Benchmark(Baseline = true)]
    public void DequantizeThenLibtorch()
    {
        using (weight.Dequantize(ScalarType.BFloat16))
        {
        }

        using Tensor values = weight.Dequantize(ScalarType.BFloat16);
        using Tensor y = nn.functional.linear(x, values);
        Finish(y);
    }

    [Benchmark]
    public void Nf4Linear()
    {
        using Tensor y = Linear.Apply(x, weight);
        Finish(y);
    }

    [Benchmark]
    public void Nf4LinearWithAdapter()
    {
        using Tensor y = Linear.Apply(x, weight, update: adapter);
        Finish(y);
    }

    private void Finish(Tensor y)
    {
        BackwardPass.Run(y, gradient);
        x.grad = null;
        adapter.A.grad = null;
        adapter.B.grad = null;
    }
}
