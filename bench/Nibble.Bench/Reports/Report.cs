using System.Globalization;
using System.Text;
using BenchmarkDotNet.Reports;
using Nibble.Bench.Machine;

namespace Nibble.Bench.Reports;

/// <summary><c>bench/reports/MACHINE.md</c> with its charts in a folder of the same name.</summary>
internal static class Report
{
    /// <summary>Whole runs, each a command of this program in a process of its own, whose peak memory is then its own; it prints one row.</summary>
    private static readonly string[][] Runs = [["step", "small"], ["step", "1b"], ["step", "1b-4096"]];

    /// <summary>Measures the machine, then the kernels by <paramref name="measureKernels"/>, then whole runs.</summary>
    /// <param name="folder">Where reports lie.</param>
    /// <param name="measureKernels">Runs the benchmarks.</param>
    /// <returns>The path of the report.</returns>
    public static string Write(string folder, Func<IEnumerable<Summary>> measureKernels)
    {
        string slug = MachineInfo.Slug;
        Directory.CreateDirectory(Path.Combine(folder, slug));
        string machine = MachineTable.Measure();
        var kernels = new StringBuilder();
        foreach (KernelTable table in measureKernels().Select(summary => new KernelTable(summary)))
        {
            string chart = $"{slug}/{table.Title}.png";
            table.Draw(Path.Combine(folder, chart));
            kernels.AppendLine(table.ToMarkdown(chart));
        }

        string path = Path.Combine(folder, slug + ".md");
        File.WriteAllText(path, string.Create(CultureInfo.InvariantCulture, $"""
            # {MachineInfo.Model}, {Environment.ProcessorCount} cores

            {MachineInfo.Describe()} Made by `./build.sh --target=Bench`; ../README.md says how to read it.

            ## The machine

            {machine}
            ## Kernels

            {kernels}
            ## Whole steps and their memory

            | setting | speed | time | share of the bf16 matrix rate | peak resident memory |
            |---|---|---|---|---|
            {string.Join('\n', Runs.Select(OwnProcess.Run))}

            """));
        return path;
    }
}
