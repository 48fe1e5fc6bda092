using System.Diagnostics;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Microsoft.Extensions.Logging;
using Nibble.Serving.Files;
using Nibble.Serving.Store;
using Nibble.Training.Configuration;

namespace Nibble.Serving.Workers;

/// <summary>
/// One worker of a job, from its start to what becomes of the job. It renews the lease, hears what is wished, and stores what the worker
/// says. A database that is gone is waited for, for as long as the lease holds; the worker goes on meanwhile.
/// </summary>
internal sealed partial class Attempt(Job job, IExecutor executor, JobStore store, ServiceOptions options, DiskQuota quota, ILogger log) : IDisposable
{
    /// <summary>Leases are renewed so many times in their length.</summary>
    public const int Renewals = 6;

    private static readonly TimeSpan Glance = TimeSpan.FromSeconds(0.2);

    private readonly JobLease lease = new(job.Number, job.Attempts);
    private readonly StopOrder stop = new();
    private readonly Stopwatch running = Stopwatch.StartNew();
    private readonly Channel<(string Kind, JsonObject Data, long Heard)> messages = Channel.CreateUnbounded<(string, JsonObject, long)>();
    private IWorker? worker;
    private TimeSpan stored;

    /// <summary>The job that it works at.</summary>
    public Job Job => job;

    /// <summary>Runs it to its end.</summary>
    /// <param name="draining">The service is stopping: the job is to go on later.</param>
    public async Task RunAsync(CancellationToken draining)
    {
        try
        {
            WorkerExit exit = await TryToWorkAsync(draining).ConfigureAwait(false);
            Task<JobStatus> end = stop.Reason == StopReason.LeaseLost ? throw new LeaseLostException(lease) : StoreAsync(() => EndAsync(exit), draining);
            Ended(log, job.Id, await end.ConfigureAwait(false), exit.Code, stop.Reason is { } reason ? $", stopped for {reason}" : "");
        }
        catch (LeaseLostException)
        {
            Lost(log, job.Id, lease.Attempt);
        }
        catch (Exception exception)
        {
            log.LogError(exception, "{Job} cannot be looked after; another server takes it when the lease is over", job.Id);
        }
    }

    public void Dispose() => stop.Dispose();

    private async Task<WorkerExit> TryToWorkAsync(CancellationToken draining)
    {
        try
        {
            return await WorkAsync(draining).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            log.LogError(exception, "The worker of {Job} cannot be looked after", job.Id);
            return new WorkerExit(-1, "the service could not look after it");
        }
    }

    private async Task<WorkerExit> WorkAsync(CancellationToken draining)
    {
        using var ended = new CancellationTokenSource();
        var order = new WorkerOrder(ConfigBinder.FromJson<RunConfig>(job.Config)!, job.Id, lease.Attempt, options.Lease.TotalSeconds);
        using IWorker started = executor.Start(job, order);
        worker = started;
        Task watching = WatchAsync(draining, ended.Token);
        Task noting = NoteAsync(draining);
        WorkerExit exit = await started.ListenAsync(Hear, stop).ConfigureAwait(false);
        await ended.CancelAsync().ConfigureAwait(false);
        messages.Writer.Complete();
        await watching.ConfigureAwait(false);
        await noting.ConfigureAwait(false);
        return exit;
    }

    private void Hear(JsonObject message)
    {
        // What has no kind are a library's own words.
        if (message["kind"] is JsonValue value && value.TryGetValue(out string? kind) && kind != "alive")
        {
            message.Remove("kind");
            if (kind == "log" && message["message"] is JsonValue words && words.TryGetValue(out string? text))
            {
                message["message"] = options.WithoutPaths(text);
            }

            messages.Writer.TryWrite((kind, message, worker!.Heard));
        }
    }

    private async Task NoteAsync(CancellationToken draining)
    {
        try
        {
            while (await messages.Reader.WaitToReadAsync(CancellationToken.None).ConfigureAwait(false))
            {
                var waiting = new List<(string, JsonObject)>();
                long heard = 0;
                while (messages.Reader.TryRead(out (string Kind, JsonObject Data, long Heard) message))
                {
                    waiting.Add((message.Kind, message.Data));
                    heard = message.Heard;
                }

                await StoreAsync(async () =>
                {
                    await store.NoteAsync(lease, waiting, heard).ConfigureAwait(false);
                    return 0;
                }, draining).ConfigureAwait(false);
            }
        }
        catch (LeaseLostException)
        {
            stop.Give(StopReason.LeaseLost);
        }
    }

    private async Task WatchAsync(CancellationToken draining, CancellationToken ended)
    {
        TimeSpan renewed = TimeSpan.MinValue;
        while (!ended.IsCancellationRequested)
        {
            Task changed = store.Changed; // Taken before looking, so that no change is missed.
            try
            {
                JobWish? wish;
                if (renewed < running.Elapsed - (options.Lease / Renewals))
                {
                    renewed = running.Elapsed;
                    TimeSpan worked = worker!.Worked;
                    wish = await store.RenewAsync(lease, options.Lease, worked - stored).ConfigureAwait(false);
                    stored = worked;
                    worker.Beat();
                }
                else
                {
                    wish = await store.WishAsync(lease).ConfigureAwait(false);
                }

                Heed(wish, draining);
            }
            catch (LeaseLostException)
            {
                stop.Give(StopReason.LeaseLost);
                return;
            }
            catch (Exception exception)
            {
                log.LogWarning("The lease of {Job} cannot be renewed now: {Problem}", job.Id, exception.GetBaseException().Message);
                Heed(wish: null, draining);
            }

            await Task.WhenAny(changed, Task.Delay(Glance, ended)).ConfigureAwait(false);
        }
    }

    private void Heed(JobWish? wish, CancellationToken draining)
    {
        StopReason? reason = worker!.Silence > options.Lease ? StopReason.Silence
            : wish == JobWish.Cancel ? StopReason.Cancel
            : options.MaxRunTime is { } most && TimeSpan.FromMilliseconds(job.RunTime) + worker.Worked > most ? StopReason.RunTime
            : wish == JobWish.Pause ? StopReason.Pause
            : quota.Problem is not null ? StopReason.DiskQuota
            : draining.IsCancellationRequested ? StopReason.Draining
            : null;
        if (reason is { } found)
        {
            stop.Give(found);
        }
    }

    private Task<JobStatus> EndAsync(WorkerExit exit) => (exit, stop.Reason) switch
    {
        ({ IsLeft: true }, _) => store.LeaveToOthersAsync(lease, Unstored()),
        ({ Code: 0 }, _) => End(JobStatus.Completed, "done"),
        (_, StopReason.Cancel) => End(JobStatus.Cancelled, JobStore.CancelledByRequest),
        (_, StopReason.Pause) => End(JobStatus.Paused, JobStore.PausedByRequest),
        (_, StopReason.RunTime) => End(JobStatus.Failed, $"it has run for the {options.MaxRunTime!.Value.TotalSeconds:0.#} s that --max-run-time allows; its checkpoints stay"),
        ({ IsCancelled: true }, _) => End(JobStatus.Cancelled, exit.Error),
        ({ IsVerdict: true }, _) => End(JobStatus.Failed, options.WithoutPaths(exit.Description)),
        (_, StopReason.DiskQuota) => End(JobStatus.Paused, $"{quota.Problem ?? "the disk quota was used up"}; resume it when there is room"),
        (_, StopReason.Draining) => End(JobStatus.Pending, "the service is stopping; the job goes on when it is started again"),
        (_, StopReason.Silence) => store.EndAttemptInDeathAsync(lease, $"the worker said nothing for {options.Lease.TotalSeconds:0.#} s", Unstored()),
        _ => store.EndAttemptInDeathAsync(lease, options.WithoutPaths(exit.Description), Unstored()),
    };

    private Task<JobStatus> End(JobStatus status, string reason) => store.EndAttemptAsync(lease, status, reason, Unstored());

    private TimeSpan Unstored() => worker is null ? TimeSpan.Zero : worker.Worked - stored;

    /// <summary>Writes, again and again until the database takes it; a service that is stopping tries a few times, and leaves the rest to the end of the lease.</summary>
    private async Task<T> StoreAsync<T>(Func<Task<T>> write, CancellationToken draining)
    {
        const int LastTries = 3;
        for (int lastTries = 0; ; lastTries += draining.IsCancellationRequested ? 1 : 0)
        {
            try
            {
                return await write().ConfigureAwait(false);
            }
            catch (Exception exception) when (JobStore.IsUnreachable(exception) && lastTries < LastTries)
            {
                log.LogWarning("What {Job} did cannot be stored now: {Problem}", job.Id, exception.GetBaseException().Message);
                await Task.Delay(TimeSpan.FromSeconds(1), CancellationToken.None).ConfigureAwait(false);
            }
        }
    }

    [LoggerMessage(LogLevel.Information, "{Job} is {Status} (exit code {Code}{Reason})")]
    private static partial void Ended(ILogger logger, string job, JobStatus status, int code, string reason);

    [LoggerMessage(LogLevel.Warning, "Attempt {Attempt} of {Job} is over: another has the job")]
    private static partial void Lost(ILogger logger, string job, int attempt);
}
