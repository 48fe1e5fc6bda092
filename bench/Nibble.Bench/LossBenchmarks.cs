using BenchmarkDotNet.Attributes;
using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Bench;

/// <summary>Head and loss, forward and backward: 512 tokens, hidden 1024, vocabulary 32,000, bfloat16.</summary>
public class LossBenchmarks
{
    private Tensor hidden = null!;
    private Tensor head = null!;
    private Tensor labels = null!;
    private DenseWeight weight = null!;

    [GlobalSetup]
    public void Setup()
    {
        hidden = randn(512, 1024).to(ScalarType.BFloat16).requires_grad_(true);
        head = (randn(32000, 1024) * 0.02).to(ScalarType.BFloat16);
        weight = new DenseWeight(head);
        labels = randint(0, 32000, 512, dtype: ScalarType.Int64);
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

    private void Finish(Tensor loss)
    {
        BackwardPass.Run(loss);
        hidden.grad = null;
    }
}
