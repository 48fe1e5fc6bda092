using System.Globalization;
using Nibble.Tests;

namespace Nibble.Serving.Tests.Proof;

/// <summary>What the full edition leaves in the report of the service: a line for each part.</summary>
internal static class ProofReport
{
    private const string Head = "| | servers | clients | jobs | completed | failed by their own fault | cancelled | servers killed | workers killed | database restarts | retries | wall time | lost | doubled | losses that differ |";

    /// <param name="name">The database, and the part.</param>
    /// <param name="servers">How many shared it.</param>
    /// <param name="size">What was asked of them.</param>
    /// <param name="blows">Servers, workers and databases that were ended.</param>
    /// <param name="verdict">What became of the jobs.</param>
    /// <param name="wall">How long it took.</param>
    public static void Write(string name, int servers, ProofSize size, (int Servers, int Workers, int Databases) blows, Verdict verdict, TimeSpan wall)
    {
        string row = string.Create(CultureInfo.InvariantCulture, $"| {name} | {servers} | {ProofTests.Clients} | {size.Jobs} | {verdict.Ended(Fate.Completed)} | {verdict.Ended(Fate.Failed)} | {verdict.Ended(Fate.Cancelled)} | {blows.Servers} | {blows.Workers} | {blows.Databases} | {verdict.Retries} | {wall.TotalSeconds:0} s | {verdict.Lost.Count} | {verdict.Doubled.Count} | {verdict.Differing.Count} |");
        TestContext.Current.TestOutputHelper?.WriteLine(row);
        string path = ProofSize.Report!; // Else nothing was proved.
        using var alone = new Mutex(initiallyOwned: false, "nibble-proof-report"); // Databases may be tried at the same time.
        alone.WaitOne();
        IEnumerable<string> others = File.Exists(path) ? File.ReadAllLines(path).Where(line => line.Contains(", part ", StringComparison.Ordinal) && !line.StartsWith($"| {name} |", StringComparison.Ordinal)) : [];
        ReportSection.Put(path, "The training service", "Killed at random", $"""
            Made by `./build.sh --target=Proof`: real jobs (a Llama of 260,000 parameters, {size.Variants} seeds, data and lengths), asked for and followed by clients that ask again when
            nobody answers, while servers and workers are killed with signal 9 at random moments. Lost: not there, in another state than it should have come to, or tried again
            though nothing struck it. Doubled: a job, an attempt or a step that is there twice. Losses are compared to the bit, at every step, with runs that nothing disturbed.

            {Head}
            |{string.Concat(Enumerable.Repeat("---|", Head.Count(letter => letter == '|') - 1))}
            {string.Join('\n', others.Append(row).Order(StringComparer.Ordinal))}
            """);
        alone.ReleaseMutex();
    }
}
