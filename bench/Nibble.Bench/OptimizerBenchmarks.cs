using BenchmarkDotNet.Attributes;
using TorchSharp.Modules;
using static TorchSharp.torch;
using EightBitState = Nibble.Kernels.AdamW.EightBitState;

namespace Nibble.Bench;

/// <summary>One AdamW step over 16 million float32 parameters.</summary>
public class OptimizerBenchmarks
{
    private const long Count = 1 << 24;

    private readonly Kernels.AdamW update = new(LearningRate: 1e-4, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.01, GradScale: 1, Step: 10);

    private Parameter parameter = null!;
    private Tensor gradient = null!;
    private Tensor moment1 = null!;
    private Tensor moment2 = null!;
    private EightBitState state = null!;
    private AdamW libtorch = null!;

    [GlobalSetup]
    public void Setup()
    {
        parameter = nn.Parameter(randn(Count));
        gradient = randn(Count) * 0.01;
        parameter.grad = gradient;
        moment1 = zeros(Count);
        moment2 = zeros(Count);
        state = EightBitState.Zero(Count);
        libtorch = optim.AdamW([parameter], 1e-4);
    }

    [Benchmark(Baseline = true)]
    public void LibtorchAdamW() => libtorch.step();

    [Benchmark]
    public void Fused32Bit()
    {
        using IDisposable noGrad = no_grad();
        update.Update(parameter, gradient, moment1, moment2);
    }

    [Benchmark]
    public void Fused8Bit()
    {
        using IDisposable noGrad = no_grad();
        update.Update(parameter, gradient, state);
    }
}
