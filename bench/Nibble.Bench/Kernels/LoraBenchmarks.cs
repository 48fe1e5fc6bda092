using BenchmarkDotNet.Attributes;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>What an adapter of rank 16 adds to an NF4 linear layer [4096, 4096], forward alone and with its backward. Rates count the frozen layer only.</summary>
public class LoraBenchmarks : ComputeBenchmark
{
    private const int Features = FrozenWeight.K;
    private const int Rank = 16;

    private Tensor x = null!;
    private Tensor gradient = null!;
    private Nf4Weight weight = null!;
    private LowRank adapter = null!;

    [Params(256, 512)]
    public int M { get; set; }

    [Params(false, true)]
    public bool Backward { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        Cpu.Threads = Threads;
        weight = FrozenWeight.Of(Features).Quantized;
        x = randn(M, Features).to(ScalarType.BFloat16).requires_grad_(Backward);
        gradient = randn(M, Features).to(ScalarType.BFloat16);
        adapter = new LowRank(randn(Rank, Features).requires_grad_(Backward), randn(Features, Rank).requires_grad_(Backward), 1);
    }

    [Benchmark(Baseline = true)]
    public void Bare() => Run(null);

    [Benchmark]
    public void WithAdapter() => Run(adapter);

    private protected override double Operations(string method) => (Backward ? 4.0 : 2.0) * M * Features * Features;

    private void Run(LowRank? update)
    {
        using Tensor y = Linear.Apply(x, weight, update: update);
        if (Backward)
        {
            BackwardPass.Run(y, gradient);
            x.grad = null;
            adapter.A.grad = null;
            adapter.B.grad = null;
        }
    }
}
