using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Nibble.Serving.Store;
using Nibble.Training.Configuration;

namespace Nibble.Serving.Workers;

/// <summary>Gives pending jobs their workers, and decides what becomes of a job when its worker has ended.</summary>
internal sealed partial class JobRunner(JobStore store, ServiceOptions options, ILogger<JobRunner> log) : BackgroundService
{
    private const int MostDeaths = 3;

    private readonly ConcurrentDictionary<long, Attempt> running = [];
    private readonly ConcurrentDictionary<long, bool> resting = [];

    private sealed record Attempt(CancellationTokenSource Cancel, TaskCompletionSource Ended);

    /// <summary>Stops the worker of a job, and waits until it is gone.</summary>
    public async Task StopAsync(Job job)
    {
        if (running.TryGetValue(job.Number, out Attempt? attempt))
        {
            await attempt.Cancel.CancelAsync().ConfigureAwait(false);
            await attempt.Ended.Task.ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var attempts = new List<Task>();
        while (!stoppingToken.IsCancellationRequested)
        {
            attempts.RemoveAll(task => task.IsCompleted);
            Task changed = store.Changed; // Taken before looking, so that no change is missed.
            if (attempts.Count < options.Concurrency && await NextAsync().ConfigureAwait(false) is { } job)
            {
                attempts.Add(RunAsync(job, stoppingToken));
            }
            else
            {
                await Task.WhenAny([changed, .. attempts, Task.Delay(TimeSpan.FromSeconds(1), stoppingToken)]).ConfigureAwait(false);
            }
        }

        await Task.WhenAll(attempts).ConfigureAwait(false);
    }

    private async Task<Job?> NextAsync()
    {
        try
        {
            return await store.StartNextAsync([.. resting.Keys]).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            log.LogError(exception, "The next job cannot be read; trying again");
            return null;
        }
    }

    private async Task RunAsync(Job job, CancellationToken draining)
    {
        using var cancel = new CancellationTokenSource();
        var attempt = new Attempt(cancel, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously));
        running[job.Number] = attempt;
        try
        {
            (JobStatus status, string reason, bool died) = await WorkAsync(job, cancel.Token, draining).ConfigureAwait(false);
            if (died && status == JobStatus.Pending)
            {
                Rest(job, TimeSpan.FromSeconds(Math.Pow(2, job.Deaths)));
            }

            await store.EndAttemptAsync(job.Number, status, reason, died).ConfigureAwait(false);
            Ended(log, job.Id, status, reason);
        }
        catch (Exception exception)
        {
            log.LogError(exception, "The end of {Job} cannot be stored; the job goes on when the service is started again", job.Id);
        }
        finally
        {
            running.TryRemove(job.Number, out _);
            attempt.Ended.SetResult();
        }
    }

    private async Task<(JobStatus Status, string Reason, bool Died)> WorkAsync(Job job, CancellationToken cancelled, CancellationToken draining)
    {
        if (await store.IsCancelRequestedAsync(job.Number).ConfigureAwait(false)) // Before this attempt could be asked to stop.
        {
            return (JobStatus.Cancelled, "cancelled before it ran", false);
        }

        string claim = Path.Combine(store.Workers, job.Id);
        WorkerExit exit;
        try
        {
            var order = new WorkerOrder(ConfigBinder.FromJson<RunConfig>(job.Config)!, Resume: job.Attempts > 1, claim);
            exit = await WorkerProcess.RunAsync(order, message => HearAsync(job, message), options.ApiKeyVariable, cancelled, draining).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            log.LogError(exception, "The worker of {Job} could not be looked after", job.Id);
            exit = new WorkerExit(-1, "the service could not look after it");
        }

        (JobStatus Status, string Reason, bool Died) end = exit switch
        {
            { Code: 0 } => (JobStatus.Completed, "done", false),
            _ when cancelled.IsCancellationRequested => (JobStatus.Cancelled, "cancelled by a request; its checkpoints stay", false),
            _ when draining.IsCancellationRequested => (JobStatus.Pending, "the service is stopping; the job goes on when it is started again", false),
            { IsVerdict: true } => (JobStatus.Failed, exit.Description, false),
            _ when job.Deaths >= MostDeaths => (JobStatus.Failed, $"{exit.Description}; {MostDeaths} before it died as well", true),
            _ => (JobStatus.Pending, $"{exit.Description}; another goes on from the last checkpoint", true),
        };
        if (end.Status != JobStatus.Pending)
        {
            File.Delete(claim);
        }

        return end;
    }

    private Task HearAsync(Job job, JsonObject message)
    {
        if (message["kind"] is not JsonValue value || !value.TryGetValue(out string? kind))
        {
            return Task.CompletedTask; // A library's own words.
        }

        message.Remove("kind");
        return store.NoteAsync(job.Number, kind == "progress" ? null : kind, message);
    }

    [LoggerMessage(LogLevel.Information, "{Job} is {Status}: {Reason}")]
    private static partial void Ended(ILogger logger, string job, JobStatus status, string reason);

    /// <summary>Lets a job wait before its next attempt.</summary>
    private void Rest(Job job, TimeSpan pause)
    {
        resting[job.Number] = true;
        _ = Task.Delay(pause).ContinueWith(_ => resting.TryRemove(job.Number, out bool _), TaskScheduler.Default);
    }
}
