using BenchmarkDotNet.Attributes;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>y = x · W^T in bfloat16 with a frozen W [N, K] in NF4, against libtorch on weights dequantised at each call, on ready ones, and bitsandbytes.</summary>
public class LinearBenchmarks : ComputeBenchmark
{
    private const int K = FrozenWeight.K;

    private Tensor x = null!;
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
        x = randn(M, K).to(ScalarType.BFloat16);
    }

    [Benchmark(Baseline = true)]
    public void LibtorchOnReadyWeights()
    {
        using Tensor y = nn.functional.linear(x, weight.Ready);
    }

    [Benchmark]
    public void DequantizeThenLibtorch()
    {
        using Tensor y = nn.functional.linear(x, weight.Dequantize());
    }

    [Benchmark]
    public void BitsandbytesDequantizeThenLibtorch()
    {
        using Tensor y = nn.functional.linear(x, weight.Peer!.Dequantize());
    }

    [Benchmark]
    public void BitsandbytesFused()
    {
        using Tensor y = weight.Peer!.Multiply(x);
    }

    [Benchmark]
    public void Nf4Linear()
    {
        using Tensor y = Linear.Apply(x, weight.Quantized);
    }

    private protected override double Operations(string method) => 2.0 * M * N * K;
}
