using BenchmarkDotNet.Attributes;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>
/// An element-wise kernel over [rows, 2048] bfloat16, in the second-level cache or beyond all. Kernels write into tensors that are
/// there, since new ones cost more than they do where memory comes fresh from the system.
/// </summary>
public abstract class LayerBenchmark : CopyBenchmark
{
    private protected const int Columns = 2048;
    private protected const int BFloat16 = 1;

    [Params(128, 16384)]
    public int Rows { get; set; }

    private protected long Elements => (long)Rows * Columns;

    private protected Tensor Random() => randn(Rows, Columns).to(ScalarType.BFloat16);

    private protected static void Check(int status) => LibNibble.Check(status);
}
