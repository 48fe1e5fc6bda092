using BenchmarkDotNet.Attributes;
using TorchSharp.Modules;
using static TorchSharp.torch;
using EightBitState = Nibble.Kernels.AdamW.EightBitState;

namespace Nibble.Bench.Kernels;

/// <summary>One AdamW step over float32 parameters: as many as an adapter's matrix has, or more than caches hold.</summary>
public class AdamWBenchmarks : CopyBenchmark
{
    private readonly Nibble.Kernels.AdamW update = new(LearningRate: 1e-4, Beta1: 0.9, Beta2: 0.999, Epsilon: 1e-8, WeightDecay: 0.01, GradScale: 1, Step: 10);

    private Parameter parameter = null!;
    private Tensor gradient = null!;
    private Tensor moment1 = null!;
    private Tensor moment2 = null!;
    private EightBitState state = null!;
    private AdamW libtorch = null!;

    [Params(1 << 16, 1 << 24)]
    public int Parameters { get; set; }

    private protected override long Footprint => 16L * Parameters;

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

    private protected override void MakeTensors()
    {
        parameter = nn.Parameter(randn(Parameters));
        gradient = randn(Parameters) * 0.01;
        parameter.grad = gradient;
        moment1 = zeros(Parameters);
        moment2 = zeros(Parameters);
        state = EightBitState.Zero(Parameters);
        libtorch = optim.AdamW([parameter], 1e-4);
    }

    /// <summary>Gradients are read; parameters and moments read and written.</summary>
    private protected override double Bytes(string method) => Parameters * (method == nameof(Fused8Bit) ? 16.0 : 28.0);
}
