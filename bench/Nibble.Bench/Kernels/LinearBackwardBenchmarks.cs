using BenchmarkDotNet.Attributes;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>dx = dy · W with the weights of <see cref="LinearBenchmarks"/>: the gradient that a frozen layer passes on.</summary>
public class LinearBackwardBenchmarks : ComputeBenchmark
{
    private const int K = FrozenWeight.K;

    private Tensor x = null!;
    private Tensor y = null!;
    private Tensor gradient = null!;
    private FrozenWeight weight = null!;

    [Params(8, 64, 512)]
    public int M { get; set; }

    [Params(4096, 14336)]
    public int N { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        Cpu.Threads = Threads;
        weight = FrozenWeight.Of(N);
        x = randn(M, K).to(ScalarType.BFloat16).requires_grad_(true);
        y = Linear.Apply(x, weight.Quantized);
        gradient = randn(M, N).to(ScalarType.BFloat16);
    }

    [Benchmark(Baseline = true)]
    public void LibtorchOnReadyWeights()
    {
        using Tensor dx = matmul(gradient, weight.Ready);
    }

    [Benchmark]
    public void DequantizeThenLibtorch()
    {
        using Tensor dx = matmul(gradient, weight.Dequantize());
    }

    [Benchmark]
    public void BitsandbytesDequantizeThenLibtorch()
    {
        using Tensor dx = matmul(gradient, weight.Peer!.Dequantize());
    }

    [Benchmark]
    public void Nf4Linear()
    {
        using Tensor dx = autograd.grad([y], [x], [gradient], retain_graph: true)[0];
    }

    private protected override double Operations(string method) => 2.0 * M * N * K;
}
