using BenchmarkDotNet.Attributes;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>Rotary embedding of 32 heads of 64 a token.</summary>
public class RopeBenchmarks : LayerBenchmark
{
    private const int Heads = 32;
    private const int HeadDim = 64;

    private Tensor x = null!;
    private Tensor y = null!;
    private Tensor cos = null!;
    private Tensor sin = null!;

    private protected override long Footprint => 4 * Elements;

    [Benchmark(Baseline = true)]
    public void LibtorchForward()
    {
        using Tensor heads = x.view(Rows, Heads, HeadDim);
        Tensor[] halves = heads.chunk(2, -1);
        using Tensor c = cos.unsqueeze(1);
        using Tensor s = sin.unsqueeze(1);
        using Tensor first = (halves[0] * c) - (halves[1] * s);
        using Tensor second = (halves[1] * c) + (halves[0] * s);
        using Tensor turned = cat([first, second], -1);
        using Tensor result = turned.to(ScalarType.BFloat16);
    }

    [Benchmark]
    public void Forward() => Check(
        NativeMethods.nibble_rope(0, BFloat16, Address(x), Address(cos), Address(sin), Rows, Heads, HeadDim, HeadDim, 0, Address(y)));

    private protected override void MakeTensors()
    {
        x = Random();
        y = Random();
        cos = randn(Rows, HeadDim / 2);
        sin = randn(Rows, HeadDim / 2);
    }

    private protected override double Bytes(string method) => (4.0 * Elements) + (4.0 * Rows * HeadDim);
}
