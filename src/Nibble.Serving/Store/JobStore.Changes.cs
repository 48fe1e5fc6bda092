using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.EntityFrameworkCore;

namespace Nibble.Serving.Store;

/// <summary>How jobs change.</summary>
internal sealed partial class JobStore
{
    /// <summary>Adds a job, or finds the one that was added with the same key.</summary>
    /// <returns>The job, and whether it is new; null when an unfinished job has the same output folder.</returns>
    public Task<(Job Job, bool IsNew)?> AddAsync(Job job) => WriteAsync<(Job, bool)?>(async database =>
    {
        if (job.IdempotencyKey is not null && await database.Jobs.SingleOrDefaultAsync(item => item.IdempotencyKey == job.IdempotencyKey).ConfigureAwait(false) is { } earlier)
        {
            return (earlier, false);
        }

        if (await database.Jobs.AnyAsync(item => item.Folder == job.Folder && (item.Status == JobStatus.Pending || item.Status == JobStatus.Running)).ConfigureAwait(false))
        {
            return null;
        }

        database.Jobs.Add(job);
        await database.SaveChangesAsync().ConfigureAwait(false); // Which numbers it.
        Tell(database, job, "created");
        return (job, true);
    });

    /// <summary>Marks the oldest pending job as running; null when none is due.</summary>
    public Task<Job?> StartNextAsync(IReadOnlyCollection<long> resting) => WriteAsync(async database =>
    {
        Job? job = await database.Jobs.Where(item => item.Status == JobStatus.Pending && !resting.Contains(item.Number))
            .OrderBy(item => item.Number).FirstOrDefaultAsync().ConfigureAwait(false);
        if (job is not null)
        {
            job.Attempts++;
            job.Started ??= DateTimeOffset.UtcNow;
            Move(database, job, JobStatus.Running, job.Attempts == 1 ? "its turn" : "resumes from its last checkpoint");
        }

        return job;
    });

    /// <summary>Changes where a running job stands.</summary>
    public Task EndAttemptAsync(long number, JobStatus status, string reason, bool died = false) => WriteAsync(async database =>
    {
        Job job = await database.Jobs.SingleAsync(item => item.Number == number).ConfigureAwait(false);
        job.Deaths += died ? 1 : 0;
        job.Error = status == JobStatus.Failed ? reason : null;
        job.Step = status == JobStatus.Completed ? job.TotalSteps : job.Step;
        Move(database, job, status, reason);
        return job;
    });

    /// <summary>Cancels a pending job, and notes the wish for a running one; a finished one stays as it is.</summary>
    public Task<Job?> RequestCancelAsync(string id) => WriteAsync(async database =>
    {
        Job? job = await database.Jobs.SingleOrDefaultAsync(item => item.Id == id).ConfigureAwait(false);
        if (job is { IsOver: false })
        {
            job.CancelRequested = true;
            if (job.Status == JobStatus.Pending)
            {
                Move(database, job, JobStatus.Cancelled, "cancelled before it ran");
            }
        }

        return job;
    });

    /// <summary>Puts jobs that an ended service left running back into the queue.</summary>
    public Task RecoverAsync() => WriteAsync(async database =>
    {
        foreach (Job job in await database.Jobs.Where(item => item.Status == JobStatus.Running).ToListAsync().ConfigureAwait(false))
        {
            Move(database, job, job.CancelRequested ? JobStatus.Cancelled : JobStatus.Pending, "the service ended while the job ran");
        }

        return 0;
    });

    /// <summary>Notes what a worker says.</summary>
    /// <param name="number">Of the job.</param>
    /// <param name="kind">Of the event; null for none, when only the job changes.</param>
    /// <param name="data">What the worker said.</param>
    public Task NoteAsync(long number, string? kind, JsonObject data) => WriteAsync(async database =>
    {
        if (kind is not null)
        {
            database.Events.Add(new JobEvent { JobNumber = number, Time = DateTimeOffset.UtcNow, Kind = kind, Data = data.ToJsonString() });
        }

        if (kind != "log")
        {
            Job job = await database.Jobs.SingleAsync(item => item.Number == number).ConfigureAwait(false);
            job.Step = data["step"]?.GetValue<int>() ?? job.Step;
            job.TotalSteps = data["total_steps"]?.GetValue<int>() ?? job.TotalSteps;
            JsonObject metrics = JsonNode.Parse(job.Metrics)!.AsObject();
            foreach ((string name, JsonNode? value) in data.Where(item => item.Key is not ("step" or "total_steps")))
            {
                metrics[name] = value?.DeepClone();
            }

            job.Metrics = metrics.ToJsonString();
        }

        return 0;
    });

    private static void Move(JobDatabase database, Job job, JobStatus status, string reason)
    {
        job.Status = status;
        job.Ended = job.IsOver ? DateTimeOffset.UtcNow : null;
        Tell(database, job, reason);
    }

    private static void Tell(JobDatabase database, Job job, string reason) => database.Events.Add(new JobEvent
    {
        JobNumber = job.Number,
        Time = DateTimeOffset.UtcNow,
        Kind = "status",
        Data = new JsonObject { ["status"] = JsonNamingPolicy.SnakeCaseLower.ConvertName(job.Status.ToString()), ["reason"] = reason, ["attempt"] = job.Attempts }.ToJsonString(),
    });

    /// <summary>One change at a time, whole or not at all. Who waits for changes is woken only if there was one.</summary>
    private async Task<T> WriteAsync<T>(Func<JobDatabase, Task<T>> change)
    {
        await writing.WaitAsync().ConfigureAwait(false);
        try
        {
            await using JobDatabase database = Open();
            int saved = 0;
            database.SavedChanges += (_, changes) => saved += changes.EntitiesSavedCount;
            await using var transaction = await database.Database.BeginTransactionAsync().ConfigureAwait(false);
            T result = await change(database).ConfigureAwait(false);
            await database.SaveChangesAsync().ConfigureAwait(false);
            await transaction.CommitAsync().ConfigureAwait(false);
            if (saved > 0)
            {
                Interlocked.Exchange(ref changed, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();
            }

            return result;
        }
        finally
        {
            writing.Release();
        }
    }
}
