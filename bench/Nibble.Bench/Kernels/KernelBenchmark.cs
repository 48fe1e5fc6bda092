using BenchmarkDotNet.Attributes;
using Nibble.Bench.Machine;
using Nibble.Kernels;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Bench.Kernels;

/// <summary>
/// A group of ways to do one thing, with the machine's own limit as one of them, so that it is measured within seconds of the
/// others and under the same conditions.
/// </summary>
public abstract class KernelBenchmark
{
    /// <summary>One, and as many as there are cores.</summary>
    public static IEnumerable<int> ThreadCounts => new[] { 1, Environment.ProcessorCount }.Distinct();

    [ParamsSource(nameof(ThreadCounts))]
    public int Threads { get; set; }

    /// <summary>What <see cref="WorkOf"/> counts, a second, in billions.</summary>
    internal abstract string Unit { get; }

    /// <summary>The method that does nothing but reach the machine's limit.</summary>
    internal abstract string Limit { get; }

    /// <summary>Operations or bytes of one call of a method, at the parameters that are set.</summary>
    internal abstract double WorkOf(string method);

    /// <summary>Whether a method does what the peer does, so that their times compare.</summary>
    internal virtual bool HasPeer(string method) => method != Limit;

    /// <summary>An address for kernels that are called without the autograd functions around them.</summary>
    private protected static nint Address(Tensor tensor) => TensorMemory.Address(tensor, "tensor");
}

/// <summary>Work that the arithmetic units limit.</summary>
public abstract class ComputeBenchmark : KernelBenchmark
{
    internal override string Unit => "GFLOP/s";

    internal override string Limit => nameof(MultiplyAddLoop);

    [Benchmark]
    public long MultiplyAddLoop() => Peaks.Bf16(Threads);

    internal sealed override double WorkOf(string method) => method == Limit ? Peaks.Bf16(Threads) : Operations(method);

    private protected abstract double Operations(string method);
}

/// <summary>Work that memory limits: as many bytes are copied as the benchmark's tensors hold, so that they lie in the same cache.</summary>
public abstract class CopyBenchmark : KernelBenchmark
{
    private Tensor source = null!;
    private Tensor target = null!;

    internal override string Unit => "GB/s";

    internal override string Limit => nameof(Copy);

    /// <summary>Bytes that the kernel's tensors take.</summary>
    private protected abstract long Footprint { get; }

    [GlobalSetup]
    public void Setup()
    {
        Cpu.Threads = Threads;
        source = zeros(Footprint / 2, ScalarType.Byte);
        target = zeros(Footprint / 2, ScalarType.Byte);
        MakeTensors();
    }

    [Benchmark]
    public void Copy() => Peaks.Copy(Address(target), Address(source), Footprint / 2, Threads);

    internal sealed override double WorkOf(string method) => method == Limit ? Footprint / 2 * 2 : Bytes(method);

    private protected abstract void MakeTensors();

    /// <summary>What one call reads and writes.</summary>
    private protected abstract double Bytes(string method);
}
