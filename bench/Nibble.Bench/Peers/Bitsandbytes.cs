using System.Runtime.InteropServices;
using Nibble.Kernels;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Bench.Peers;

/// <summary>
/// The CPU library of bitsandbytes 0.50, where <see cref="Variable"/> names it. It shares libtorch's OpenMP runtime, which is loaded
/// before it with global symbols, and so its number of threads.
/// </summary>
internal static class Bitsandbytes
{
    public const string Variable = "NIBBLE_BENCH_BITSANDBYTES";

    private static readonly Lazy<nint> Library = new(() => NativeLibrary.Load(Environment.GetEnvironmentVariable(Variable)!));

    /// <summary>void(M, N, K, x, w, absmax, y, block size, stride of x, stride of y), all of bfloat16 but w.</summary>
    public delegate void Gemm(long m, long n, long k, nint x, nint w, nint absmax, nint y, long blockSize, long strideX, long strideY);

    /// <summary>void(packed, float32 absmax, bfloat16 out, block size, rows, columns).</summary>
    public delegate void DequantizeBlockwise(nint packed, nint absmax, nint output, long blockSize, long m, long n);

    public static bool Present => Environment.GetEnvironmentVariable(Variable) is { Length: > 0 };

    /// <summary>A weight [N, K] as bitsandbytes keeps it; null where there is no library.</summary>
    public static BitsandbytesWeight? Load(Tensor values) =>
        !Present ? null : new BitsandbytesWeight(values, Function<Gemm>("gemv_4bit_inference_cpu_nf4_bf16"), Function<DequantizeBlockwise>("cdequantize_blockwise_cpu_nf4_bf16"));

    private static T Function<T>(string name)
        where T : Delegate => Marshal.GetDelegateForFunctionPointer<T>(NativeLibrary.GetExport(Library.Value, name));
}

/// <summary>One weight in both layouts of bitsandbytes: blocks in a row for dequantising, panels of 32 rows for the fused product.</summary>
internal sealed class BitsandbytesWeight
{
    private const int BlockSize = 64;
    private const int PanelRows = 32;

    private readonly Bitsandbytes.Gemm gemm;
    private readonly Bitsandbytes.DequantizeBlockwise dequantize;
    private readonly long rows;
    private readonly long columns;
    private readonly Nf4Weight weight;
    private readonly Tensor packed;
    private readonly Tensor absmax;
    private readonly Tensor panels;
    private readonly Tensor panelScales;
    private readonly Tensor dequantized;

    public BitsandbytesWeight(Tensor values, Bitsandbytes.Gemm gemm, Bitsandbytes.DequantizeBlockwise dequantize)
    {
        this.gemm = gemm;
        this.dequantize = dequantize;
        (rows, columns) = (values.shape[0], values.shape[1]);
        weight = Nf4.Quantize(values, doubleQuantize: false);
        packed = weight.Packed();
        absmax = weight.Scales();
        panels = ToPanels();
        panelScales = absmax.view(rows, columns / BlockSize).t().to(ScalarType.BFloat16).contiguous();
        dequantized = empty(rows, columns, ScalarType.BFloat16);
        RequireEqualResults();
    }

    /// <summary>[N, K] in bfloat16, in the same memory at each call.</summary>
    public Tensor Dequantize()
    {
        dequantize(Address(packed), Address(absmax), Address(dequantized), BlockSize, rows, columns);
        return dequantized;
    }

    /// <summary>x · W^T.</summary>
    public Tensor Multiply(Tensor x)
    {
        Tensor y = empty(x.shape[0], rows, ScalarType.BFloat16);
        gemm(x.shape[0], rows, columns, Address(x), Address(panels), Address(panelScales), Address(y), BlockSize, columns, rows);
        return y;
    }

    private static nint Address(Tensor tensor) => TensorMemory.Address(tensor, "tensor");

    /// <summary>
    /// Of 32 rows, each pair of columns becomes 64 codes in the order row, column, of which the second 32 go to the upper halves of
    /// the first 32's bytes.
    /// </summary>
    private Tensor ToPanels()
    {
        using IDisposable scope = NewDisposeScope();
        Tensor codes = stack([packed.bitwise_right_shift(4), packed.bitwise_and(15)], -1);
        Tensor halves = codes.view(rows / PanelRows, PanelRows, columns / 2, 2).transpose(1, 2).contiguous().view(-1, 2, PanelRows);
        return halves[TensorIndex.Colon, 1].bitwise_left_shift(4).bitwise_or(halves[TensorIndex.Colon, 0]).contiguous().MoveToOuterDisposeScope();
    }

    /// <summary>A comparison with a peer that computes something else is none.</summary>
    private void RequireEqualResults()
    {
        using IDisposable scope = NewDisposeScope();
        Tensor expected = weight.Dequantize(ScalarType.BFloat16);
        Tensor x = randn(4, columns).to(ScalarType.BFloat16);
        Tensor y = nn.functional.linear(x, expected);
        double difference = Math.Max(Distance(Dequantize(), expected), Distance(Multiply(x), y));
        if (!(difference < 0.03))
        {
            throw new InvalidOperationException($"bitsandbytes differs from its own format by {difference:0.###} of the largest value: {Bitsandbytes.Variable} names another version.");
        }
    }

    private static double Distance(Tensor found, Tensor expected) =>
        ((found - expected).abs().max() / expected.abs().max()).to(ScalarType.Float64).item<double>();
}
