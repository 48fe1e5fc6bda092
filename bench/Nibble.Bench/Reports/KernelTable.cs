using System.Globalization;
using System.Text;
using BenchmarkDotNet.Reports;
using Nibble.Bench.Kernels;

namespace Nibble.Bench.Reports;

/// <summary>The measurements of one benchmark as a section of a report.</summary>
internal sealed class KernelTable(Summary summary)
{
    private readonly IReadOnlyList<KernelResult> results = KernelResult.Of(summary);

    private readonly KernelBenchmark benchmark = (KernelBenchmark)Activator.CreateInstance(summary.BenchmarksCases[0].Descriptor.Type)!;

    /// <summary>The benchmark's name without its suffix.</summary>
    public string Title => benchmark.GetType().Name.Replace("Benchmarks", string.Empty, StringComparison.Ordinal);

    /// <summary>A heading, a table, and <paramref name="chart"/> under it where there is one.</summary>
    public string ToMarkdown(string? chart = null)
    {
        var text = new StringBuilder()
            .AppendLine(CultureInfo.InvariantCulture, $"### {Title}")
            .AppendLine()
            .AppendLine(CultureInfo.InvariantCulture, $"| setting | threads | method | time | {benchmark.Unit} | of {benchmark.Limit} | times the peer |")
            .AppendLine("|---|---|---|---|---|---|---|");
        foreach (KernelResult result in results)
        {
            string peer = result.OfPeer is { } times ? times.ToString("0.00", CultureInfo.InvariantCulture) : "-";
            text.AppendLine(
                CultureInfo.InvariantCulture,
                $"| {result.Setting} | {result.Threads} | {result.Method} | {Time(result.Seconds)} | {result.Rate:0.0} | {100 * result.OfLimit:0}% | {peer} |");
        }

        if (chart is not null)
        {
            text.AppendLine().AppendLine(CultureInfo.InvariantCulture, $"![{Title}]({chart})");
        }

        return text.ToString();
    }

    /// <summary>Draws the shares of the machine's limit on all threads.</summary>
    public void Draw(string path) =>
        ShareChart.Save(path, $"{Title}: share of {benchmark.Limit}, {results.Max(result => result.Threads)} threads", [.. results.Where(Drawn).Select(result => ($"{result.Setting}  {result.Method}", result.OfLimit))]);

    private bool Drawn(KernelResult result) => result.Threads == results.Max(other => other.Threads) && result.Method != benchmark.Limit;

    private static string Time(double seconds) => seconds switch
    {
        < 1e-4 => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e6:0.0} us"),
        < 0.1 => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e3:0.00} ms"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{seconds * 1e3:0} ms"),
    };
}
