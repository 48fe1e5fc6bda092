using BenchmarkDotNet.Attributes;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>silu(gate) · up, and its gradients.</summary>
public class SwiGluBenchmarks : LayerBenchmark
{
    private Tensor gate = null!;
    private Tensor up = null!;
    private Tensor dy = null!;
    private Tensor y = null!;
    private Tensor dup = null!;

    private protected override long Footprint => 10 * Elements;

    internal override bool HasPeer(string method) => method is nameof(LibtorchForward) or nameof(Forward);

    [Benchmark(Baseline = true)]
    public void LibtorchForward()
    {
        using Tensor silu = nn.functional.silu(gate);
        using Tensor product = silu * up;
    }

    [Benchmark]
    public void Forward() => Check(NativeMethods.nibble_swiglu_forward(0, BFloat16, Address(gate), Address(up), Elements, Address(y)));

    [Benchmark]
    public void Backward() =>
        Check(NativeMethods.nibble_swiglu_backward(0, BFloat16, Address(gate), Address(up), Address(dy), Elements, Address(y), Address(dup)));

    private protected override void MakeTensors()
    {
        gate = Random();
        up = Random();
        dy = Random();
        y = Random();
        dup = Random();
    }

    private protected override double Bytes(string method) => (method == nameof(Backward) ? 10 : 6) * Elements;
}
