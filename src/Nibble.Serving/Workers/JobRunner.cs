using System.Diagnostics;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Nibble.Serving.Files;
using Nibble.Serving.Store;

namespace Nibble.Serving.Workers;

/// <summary>Gives pending jobs their workers, as many as each device has memory for, and takes jobs over from servers that are silent.</summary>
internal sealed class JobRunner(
    JobStore store, IExecutor executor, ServiceOptions options, DeviceMemory memory, DiskQuota quota, IHostApplicationLifetime host, ILogger<JobRunner> log) : BackgroundService
{
    private static readonly TimeSpan Glance = TimeSpan.FromSeconds(1);

    /// <summary>No two servers have the same name, nor one and the one that is started after it.</summary>
    private readonly string name = $"{Environment.MachineName}:{Environment.ProcessId}:{Guid.NewGuid():N}";
    private readonly Dictionary<Attempt, Task> attempts = [];

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var listening = new TaskCompletionSource(); // A service that cannot listen ends at once, and would leave the jobs it took without a worker.
        using CancellationTokenRegistration told = host.ApplicationStarted.Register(listening.SetResult);
        await Task.WhenAny(listening.Task, Task.Delay(Timeout.Infinite, stoppingToken)).ConfigureAwait(false);
        var sinceTakenBack = Stopwatch.StartNew();
        while (!stoppingToken.IsCancellationRequested)
        {
            Forget();
            Task changed = store.Changed; // Taken before looking, so that no change is missed.
            if (store.IsShared && sinceTakenBack.Elapsed > Glance)
            {
                await TryAsync(() => store.TakeBackAsync(all: false)).ConfigureAwait(false);
                sinceTakenBack.Restart();
            }

            if (!await TryAsync(() => StartNextAsync(stoppingToken)).ConfigureAwait(false))
            {
                await Task.WhenAny([changed, .. attempts.Values, Task.Delay(Glance, stoppingToken)]).ConfigureAwait(false);
            }
        }

        await Task.WhenAll(attempts.Values).ConfigureAwait(false);
    }

    private void Forget()
    {
        foreach (Attempt attempt in attempts.Where(item => item.Value.IsCompleted).Select(item => item.Key).ToList())
        {
            attempts.Remove(attempt);
            Take(attempt.Job, -attempt.Job.Memory);
            attempt.Dispose();
        }
    }

    private async Task<bool> StartNextAsync(CancellationToken stopping)
    {
        if (executor.Cluster is { } cluster && await store.TakeOverAsync(cluster, name, options.Lease).ConfigureAwait(false) is { } left)
        {
            Start(left, stopping);
            return true;
        }

        if (quota.Problem is not null)
        {
            return false;
        }

        foreach (string device in memory.JobDevices.Keys)
        {
            bool full = attempts.Keys.Count(attempt => attempt.Job.Device == device) >= options.Concurrency;
            if (!full && await ClaimAsync(device, stopping).ConfigureAwait(false) is { } job)
            {
                Start(job, stopping);
                return true;
            }
        }

        return false;
    }

    private void Start(Job job, CancellationToken stopping)
    {
        var attempt = new Attempt(job, executor, store, options, quota, log);
        attempts.Add(attempt, attempt.RunAsync(stopping));
    }

    /// <summary>A cluster minds its own memory.</summary>
    private void Take(Job job, long bytes) => memory.Take(job.Device, executor.Cluster is null ? bytes : 0);

    private async Task<Job?> ClaimAsync(string device, CancellationToken stopping)
    {
        await memory.Deciding.WaitAsync(stopping).ConfigureAwait(false);
        try
        {
            long free = executor.Cluster is null ? memory.Free(device) : long.MaxValue;
            Job? job = await store.ClaimAsync(device, free, name, options.Lease, executor.Cluster).ConfigureAwait(false);
            if (job is not null)
            {
                Take(job, job.Memory);
            }

            return job;
        }
        finally
        {
            memory.Deciding.Release();
        }
    }

    private Task<bool> TryAsync(Func<Task> action) => TryAsync(async () =>
    {
        await action().ConfigureAwait(false);
        return true;
    });

    private async Task<bool> TryAsync(Func<Task<bool>> action)
    {
        try
        {
            return await action().ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return false; // The service is stopping.
        }
        catch (Exception exception)
        {
            log.LogWarning("Jobs cannot be looked for now: {Problem}", exception.GetBaseException().Message);
            return false;
        }
    }
}
