using BenchmarkDotNet.Attributes;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>RMS norm, and its gradients without and with that of the weight.</summary>
public class RmsNormBenchmarks : LayerBenchmark
{
    private Tensor x = null!;
    private Tensor dy = null!;
    private Tensor y = null!;
    private Tensor weight = null!;
    private Tensor weightGradient = null!;
    private Tensor inverse = null!;

    private protected override long Footprint => 6 * Elements;

    internal override bool HasPeer(string method) => method is nameof(LibtorchForward) or nameof(Forward);

    [Benchmark(Baseline = true)]
    public void LibtorchForward()
    {
        using Tensor wide = x.to(ScalarType.Float32);
        using Tensor square = wide.square();
        using Tensor mean = square.mean([-1], keepdim: true);
        using Tensor factor = (mean + 1e-5).rsqrt();
        using Tensor scaled = wide * factor;
        using Tensor weighted = scaled * weight;
        using Tensor result = weighted.to(ScalarType.BFloat16);
    }

    [Benchmark]
    public void Forward() =>
        Check(NativeMethods.nibble_rms_norm_forward(0, BFloat16, Address(x), 0, Address(weight), Rows, Columns, 1e-5f, 0, Address(y), Address(inverse)));

    [Benchmark]
    public void Backward() => Backward(0);

    [Benchmark]
    public void BackwardWithWeight() => Backward(Address(weightGradient));

    private protected override void MakeTensors()
    {
        x = Random();
        dy = Random();
        y = Random();
        weight = ones(Columns);
        weightGradient = zeros(Columns);
        inverse = ones(Rows);
    }

    private protected override double Bytes(string method) => (method.StartsWith(nameof(Backward), StringComparison.Ordinal) ? 6 : 4) * Elements;

    private void Backward(nint dweight) => Check(NativeMethods.nibble_rms_norm_backward(
        0, BFloat16, Address(x), Address(weight), Address(inverse), Address(dy), 0, Rows, Columns, Address(y), dweight));
}
