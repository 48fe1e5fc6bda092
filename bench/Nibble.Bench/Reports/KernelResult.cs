using System.Reflection;
using BenchmarkDotNet.Reports;
using BenchmarkDotNet.Running;
using Nibble.Bench.Kernels;

namespace Nibble.Bench.Reports;

/// <summary>One measured method at one setting.</summary>
/// <param name="Setting">The benchmark's parameters other than the number of threads, such as <c>M 8, N 4096</c>.</param>
/// <param name="Threads">Threads it ran on.</param>
/// <param name="Method">Its name.</param>
/// <param name="Seconds">Median time of a call.</param>
/// <param name="Rate">Work a second, in billions of the group's unit.</param>
/// <param name="OfLimit">Share of what the machine's own limit reached in the same group.</param>
/// <param name="OfPeer">How many times the speed of the group's peer; null where there is none.</param>
internal sealed record KernelResult(string Setting, int Threads, string Method, double Seconds, double Rate, double OfLimit, double? OfPeer)
{
    /// <summary>Everything that was measured of one benchmark, in its order; a method that failed is left out.</summary>
    public static IReadOnlyList<KernelResult> Of(Summary summary) =>
        [.. summary.Reports.Where(report => report.ResultStatistics is not null).GroupBy(report => report.BenchmarkCase.Parameters.DisplayInfo).SelectMany(OfGroup)];

    private static IEnumerable<KernelResult> OfGroup(IEnumerable<BenchmarkReport> group)
    {
        List<(BenchmarkCase Case, double Seconds)> cases = [.. group.Select(report => (report.BenchmarkCase, report.ResultStatistics!.Median / 1e9))];
        KernelBenchmark benchmark = Instance(cases[0].Case);
        double RateOf((BenchmarkCase Case, double Seconds) item) => benchmark.WorkOf(Name(item.Case)) / item.Seconds / 1e9;
        double limit = cases.Where(item => Name(item.Case) == benchmark.Limit).Select(RateOf).FirstOrDefault(double.NaN);
        double? peer = cases.Where(item => item.Case.Descriptor.Baseline).Select(item => (double?)item.Seconds).FirstOrDefault();
        string setting = string.Join(", ", cases[0].Case.Parameters.Items.Where(item => item.Name != nameof(KernelBenchmark.Threads)).Select(item => $"{item.Name} {item.Value}"));
        return cases.Select(item =>
        {
            double rate = RateOf(item);
            return new KernelResult(setting, benchmark.Threads, Name(item.Case), item.Seconds, rate, rate / limit, benchmark.HasPeer(Name(item.Case)) ? peer / item.Seconds : null);
        });
    }

    private static string Name(BenchmarkCase benchmarkCase) => benchmarkCase.Descriptor.WorkloadMethod.Name;

    /// <summary>The benchmark with the parameters of a case, to ask what its methods amount to.</summary>
    private static KernelBenchmark Instance(BenchmarkCase benchmarkCase)
    {
        Type type = benchmarkCase.Descriptor.Type;
        object instance = Activator.CreateInstance(type)!;
        foreach (var parameter in benchmarkCase.Parameters.Items)
        {
            type.GetProperty(parameter.Name, BindingFlags.Public | BindingFlags.Instance)!.SetValue(instance, parameter.Value);
        }

        return (KernelBenchmark)instance;
    }
}
