using System.Diagnostics;
using Nibble.Serving.Workers;
using Nibble.Tests;
using Nibble.Training;
using Nibble.Training.Configuration;

namespace Nibble.Serving.Tests;

/// <summary>Who may write a run's folder.</summary>
public class ClaimTests
{
    [Fact]
    public void An_older_attempt_that_wakes_late_does_not_get_the_folder()
    {
        using var folder = new TempFolder();
        Take(folder, "job-b", 2).Dispose();
        Take(folder, "job-b", 2).Dispose(); // The same one may, and a newer one.
        Take(folder, "job-b", 3).Dispose();
        foreach ((string job, int attempt) in new[] { ("job-b", 2), ("job-a", 9) })
        {
            Assert.Contains("attempt 3 of job-b", Assert.Throws<IOException>(() => Take(folder, job, attempt)).Message, StringComparison.Ordinal);
        }

        Take(folder, "job-c", 1).Dispose(); // Another job's run, when the one before left the folder free.
    }

    [Fact]
    public void A_folder_is_one_workers_at_a_time()
    {
        using var folder = new TempFolder();
        using RunClaim first = Take(folder, "job-a", 1);
        using var impatience = new CancellationTokenSource(TimeSpan.FromSeconds(0.5));
        var clock = Stopwatch.StartNew();
        Assert.Throws<OperationCanceledException>(() => Take(folder, "job-a", 2, impatience.Token));
        Assert.True(clock.Elapsed > TimeSpan.FromSeconds(0.4));
    }

    [Fact]
    public void A_worker_says_that_what_failed_may_pass_unless_the_request_is_at_fault()
    {
        using var folder = new TempFolder();
        Take(folder, "job-b", 3).Dispose();
        Assert.Throws<PassingFailureException>(() => Run(new WorkerOrder(Config(folder), "job-b", 2, 60)));
        Assert.Throws<ArgumentException>(() => Run(new WorkerOrder(Config(folder) with { Data = new DataSection() }, "job-b", 4, 60)));
        Assert.ThrowsAny<IOException>(() => Run(new WorkerOrder(Config(folder) with { Model = folder["none"], OutputDir = folder["out"] }, "job-b", 4, 60)));
    }

    private static void Run(WorkerOrder order) => Worker.Run(new OneLine(order.ToLine()), TextWriter.Null, CancellationToken.None);

    private static RunConfig Config(TempFolder folder) => new() { Model = folder.Path, OutputDir = folder.Path, Data = new DataSection { Train = folder["train.jsonl"] } };

    private static RunClaim Take(TempFolder folder, string job, int attempt, CancellationToken cancellation = default) =>
        RunClaim.Take(new WorkerOrder(Config(folder), job, attempt, 60), new Silent(), cancellation);

    /// <summary>A server that orders something and then keeps still.</summary>
    private sealed class OneLine(string line) : TextReader
    {
        private string? next = line;

        public override string? ReadLine()
        {
            (string? now, next) = (next, null);
            Thread.Sleep(now is null ? Timeout.Infinite : 0);
            return now;
        }
    }

    private sealed class Silent : ITrainingObserver;
}
