using System.Diagnostics;
using System.Globalization;
using System.Text;
using Nibble.Bench.Kernels;
using Nibble.Kernels;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Bench.Machine;

/// <summary>The machine's limits as the first table of a report, taken in turn and by their medians.</summary>
internal static class MachineTable
{
    private const int Rounds = 15;
    private const int MatrixSize = 2048;

    /// <summary>More than caches hold, in bytes.</summary>
    private const long Large = 256 << 20;

    public static string Measure()
    {
        using IDisposable scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        Tensor source = ones(Large, ScalarType.Byte);
        Tensor target = ones(Large, ScalarType.Byte);
        Tensor matrix = randn(MatrixSize, MatrixSize).to(ScalarType.BFloat16);
        nint from = TensorMemory.Address(source, nameof(source));
        nint to = TensorMemory.Address(target, nameof(target));
        var table = new StringBuilder()
            .AppendLine("| threads | bf16 multiply-adds | float32 multiply-adds | libtorch's bf16 product of 2048 | copy | read |")
            .AppendLine("|---|---|---|---|---|---|");
        foreach (int threads in KernelBenchmark.ThreadCounts)
        {
            Cpu.Threads = threads;
            double[] rates = Medians(
                () => Peaks.Bf16(threads),
                () => Peaks.Float32(threads),
                () =>
                {
                    matmul(matrix, matrix).Dispose();
                    return 2.0 * MatrixSize * MatrixSize * MatrixSize;
                },
                () =>
                {
                    Peaks.Copy(to, from, Large, threads);
                    return 2.0 * Large;
                },
                () =>
                {
                    Peaks.Read(from, Large, threads);
                    return Large;
                });
            table.AppendLine(CultureInfo.InvariantCulture, $"| {threads} | {rates[0]:0} GFLOP/s | {rates[1]:0} GFLOP/s | {rates[2]:0} GFLOP/s | {rates[3]:0.0} GB/s | {rates[4]:0.0} GB/s |");
        }

        return table.ToString();
    }

    /// <summary>The median rate of each, in billions a second, of rounds in which all take their turn: what disturbs one disturbs its neighbours too.</summary>
    private static double[] Medians(params Func<double>[] works)
    {
        var rates = works.Select(_ => new List<double>()).ToArray();
        for (int round = 0; round <= Rounds; round++)
        {
            for (int i = 0; i < works.Length; i++)
            {
                var watch = Stopwatch.StartNew();
                double work = works[i]();
                double rate = work / watch.Elapsed.TotalSeconds / 1e9;
                if (round > 0)
                {
                    rates[i].Add(rate);
                }
            }
        }

        return [.. rates.Select(all => all.Order().ElementAt(all.Count / 2))];
    }
}
