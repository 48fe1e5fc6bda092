using System.Globalization;
using Nibble.Tests;

namespace Nibble.Serving.Tests.Proof;

/// <summary>What the full edition leaves in the report of the service, a section for each database.</summary>
internal static class ProofReport
{
    private const string Title = "The training service";

    /// <param name="database">Which.</param>
    /// <param name="servers">How many shared it.</param>
    /// <param name="size">What was asked of them.</param>
    /// <param name="blows">Servers, workers and databases that were ended.</param>
    /// <param name="verdict">What became of the jobs.</param>
    /// <param name="wall">How long it took.</param>
    public static void Write(string database, int servers, ProofSize size, (int Servers, int Workers, int Databases) blows, Verdict verdict, TimeSpan wall)
    {
        string table = string.Create(CultureInfo.InvariantCulture, $"""
            | servers | clients | jobs | completed | failed by their own fault | cancelled | servers killed | workers killed | database restarts | retries | wall time | lost | doubled | losses that differ |
            |---|---|---|---|---|---|---|---|---|---|---|---|---|---|
            | {servers} | {ProofTests.Clients} | {size.Jobs} | {verdict.Ended(Fate.Completed)} | {verdict.Ended(Fate.Failed)} | {verdict.Ended(Fate.Cancelled)} | {blows.Servers} | {blows.Workers} | {blows.Databases} | {verdict.Retries} | {wall.TotalSeconds:0} s | {verdict.Lost.Count} | {verdict.Doubled.Count} | {verdict.Differing.Count} |
            """);
        TestContext.Current.TestOutputHelper?.WriteLine(table);
        if (ProofSize.Report is { } path)
        {
            ReportSection.Put(path, Title, "Killed at random", $"""
                Made by `./build.sh --target=Proof`: real jobs (a Llama of 260,000 parameters, {size.Variants} seeds, data and lengths in each part), asked for and followed by clients
                that ask again when nobody answers, while servers and workers are killed with signal 9 at random moments. Lost: not there, in another state than it should have come to,
                or tried again though nothing struck it. Doubled: a job, an attempt or a step that is there twice. Losses are compared to the bit, at every step, with runs that nothing disturbed.
                """);
            ReportSection.Put(path, Title, $"Killed at random: {database}", $"""
                {table}
                """);
        }
    }
}
