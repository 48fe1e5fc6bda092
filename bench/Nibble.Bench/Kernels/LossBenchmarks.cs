using BenchmarkDotNet.Attributes;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>
/// Head and loss: 256 tokens, hidden 2048, vocabulary 32,000, bfloat16, forward alone and with its backward: one product with the
/// head, or two.
/// </summary>
public class LossBenchmarks : ComputeBenchmark
{
    private const int Tokens = 256;
    private const int Hidden = 2048;
    private const int Vocabulary = 32000;

    private Tensor hidden = null!;
    private Tensor head = null!;
    private Tensor labels = null!;
    private DenseWeight weight = null!;

    [Params(false, true)]
    public bool Backward { get; set; }

    [GlobalSetup]
    public void Setup()
    {
        Cpu.Threads = Threads;
        hidden = randn(Tokens, Hidden).to(ScalarType.BFloat16).requires_grad_(Backward);
        head = (randn(Vocabulary, Hidden) * 0.02).to(ScalarType.BFloat16);
        weight = new DenseWeight(head);
        labels = randint(0, Vocabulary, Tokens, dtype: ScalarType.Int64);
    }

    [Benchmark(Baseline = true)]
    public void LogitsThenLibtorchCrossEntropy()
    {
        using Tensor logits = nn.functional.linear(hidden, head);
        using Tensor wide = logits.to(ScalarType.Float32);
        using Tensor loss = nn.functional.cross_entropy(wide, labels);
        Finish(loss);
    }

    [Benchmark]
    public void FusedLinearCrossEntropy()
    {
        using Tensor losses = LinearCrossEntropy.Apply(hidden, weight, labels);
        using Tensor loss = losses.mean();
        Finish(loss);
    }

    private protected override double Operations(string method) => 2.0 * (Backward ? 2 : 1) * Tokens * Hidden * Vocabulary;

    private void Finish(Tensor loss)
    {
        if (Backward)
        {
            BackwardPass.Run(loss);
            hidden.grad = null;
        }
    }
}
