using BenchmarkDotNet.Attributes;
using Nibble.Bench.Machine;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>
/// <see cref="LinearBenchmarks"/> with one row, as each token of a generation makes it: every weight is read once and used once, so
/// the limit is how fast memory is read. Calls go round several weights, as a model's do, so that no cache holds the next one. Rates
/// count the bytes of the weights in the format that a method reads.
/// </summary>
public class OneRowBenchmarks : KernelBenchmark
{
    private const double BlockBytes = 32;
    private const double BeyondCaches = 110e6;

    private Tensor x = null!;
    private FrozenWeight[] weights = null!;
    private int calls;

    [Params(4096, 14336)]
    public int N { get; set; }

    internal override string Unit => "GB/s";

    internal override string Limit => nameof(Read);

    private double Blocks => (double)N * FrozenWeight.K / 64;

    private FrozenWeight Next => weights[calls++ % weights.Length];

    [GlobalSetup]
    public void Setup()
    {
        Cpu.Threads = Threads;
        weights = [.. Enumerable.Range(0, 1 + (int)(BeyondCaches / (BlockBytes * Blocks))).Select(copy => FrozenWeight.Of(N, copy))];
        x = randn(1, FrozenWeight.K).to(ScalarType.BFloat16);
    }

    /// <summary>As many bytes as the quantised weights have.</summary>
    [Benchmark]
    public ulong Read() => Peaks.Read(Address(Next.Ready), (long)(BlockBytes * Blocks), Threads);

    [Benchmark(Baseline = true)]
    public void LibtorchOnReadyWeights()
    {
        using Tensor y = nn.functional.linear(x, Next.Ready);
    }

    [Benchmark]
    public void BitsandbytesFused()
    {
        using Tensor y = Next.Peer!.Multiply(x);
    }

    [Benchmark]
    public void Nf4Linear()
    {
        using Tensor y = Linear.Apply(x, Next.Quantized);
    }

    internal override double WorkOf(string method) => Blocks * method switch
    {
        nameof(LibtorchOnReadyWeights) => 128,
        nameof(BitsandbytesFused) => BlockBytes + 2,
        nameof(Nf4Linear) => BlockBytes + 1 + (4.0 / 256),
        _ => BlockBytes,
    };
}
