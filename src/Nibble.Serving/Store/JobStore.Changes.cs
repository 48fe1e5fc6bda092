using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.EntityFrameworkCore;

namespace Nibble.Serving.Store;

/// <summary>What came of the wish to add a job.</summary>
internal enum Addition
{
    /// <summary>It is there.</summary>
    Added,

    /// <summary>It was there, added with the same key.</summary>
    Repeated,

    /// <summary>A job that is not over has the same output folder.</summary>
    FolderTaken,

    /// <summary>As many jobs wait as may.</summary>
    QueueFull,
}

/// <summary>How jobs change because somebody asks for it.</summary>
internal sealed partial class JobStore
{
    /// <summary>Adds a job, or finds the one that was added with the same key.</summary>
    /// <param name="job">The job.</param>
    /// <param name="queue">Jobs that may wait, this one among them.</param>
    public Task<(Job Job, Addition Outcome)> AddAsync(Job job, int queue) => WriteAsync<(Job, Addition)>(async tables =>
    {
        await database.AloneAsync(tables).ConfigureAwait(false);
        if (job.IdempotencyKey is not null && await tables.Jobs.SingleOrDefaultAsync(item => item.IdempotencyKey == job.IdempotencyKey).ConfigureAwait(false) is { } earlier)
        {
            return (earlier, Addition.Repeated);
        }

        if (await Unfinished(tables).AnyAsync(item =>
            item.Folder == job.Folder || item.Folder.StartsWith(job.Folder + "/") || job.Folder.StartsWith(item.Folder + "/")).ConfigureAwait(false))
        {
            return (job, Addition.FolderTaken);
        }

        if (await tables.Jobs.CountAsync(item => item.Status == JobStatus.Pending).ConfigureAwait(false) >= queue)
        {
            return (job, Addition.QueueFull);
        }

        tables.Jobs.Add(job);
        await tables.SaveChangesAsync().ConfigureAwait(false); // Which numbers it.
        Tell(tables, job, "created");
        return (job, Addition.Added);
    });

    /// <summary>Does what is wished to a job that does not run, and tells the server of one that does. To cancel outweighs to pause.</summary>
    /// <returns>The job, null where there is none; and whether it is one that can be paused or cancelled.</returns>
    public Task<(Job? Job, bool Accepted)> WishAsync(string id, JobWish wish) => WriteAsync(async tables =>
    {
        if (await LockAsync(tables, id).ConfigureAwait(false) is not { IsOver: false } job)
        {
            return (await tables.Jobs.SingleOrDefaultAsync(item => item.Id == id).ConfigureAwait(false), false);
        }

        if (job.Status == JobStatus.Running || job.ClusterJob is not null)
        {
            job.Wish = job.Wish == JobWish.Cancel ? JobWish.Cancel : wish;
        }
        else if (wish == JobWish.Cancel)
        {
            Move(tables, job, JobStatus.Cancelled, job.Attempts == 0 ? "cancelled before it ran" : CancelledByRequest);
        }
        else if (job.Status == JobStatus.Pending)
        {
            Move(tables, job, JobStatus.Paused, job.Attempts == 0 ? "paused before it ran" : PausedByRequest);
        }

        return ((Job?)job, true);
    });

    /// <summary>Puts a paused job back into the queue.</summary>
    /// <returns>The job, null where there is none; and whether it was paused.</returns>
    public Task<(Job? Job, bool Accepted)> ResumeAsync(string id) => WriteAsync(async tables =>
    {
        Job? job = await LockAsync(tables, id).ConfigureAwait(false);
        if (job is not { Status: JobStatus.Paused })
        {
            return (job, false);
        }

        job.Deaths = 0;
        job.DueAt = 0;
        Move(tables, job, JobStatus.Pending, "resumed by a request");
        return ((Job?)job, true);
    });

    public const string CancelledByRequest = "cancelled by a request; its checkpoints stay";
    public const string PausedByRequest = "paused by a request; it goes on from its last checkpoint when it is resumed";

    private static IQueryable<Job> Unfinished(JobDatabase tables) =>
        tables.Jobs.Where(item => item.Status == JobStatus.Pending || item.Status == JobStatus.Running || item.Status == JobStatus.Paused);

    private async Task<Job?> LockAsync(JobDatabase tables, string id) =>
        (await LockAsync(tables, "\"Id\" = {0}", most: 1, skipLocked: false, id).ConfigureAwait(false)).SingleOrDefault();

    private static void Move(JobDatabase tables, Job job, JobStatus status, string reason)
    {
        job.Status = status;
        job.Error = status == JobStatus.Failed ? reason.Replace('\0', ' ') : null; // Which PostgreSQL has no place for.
        job.Ended = job.IsOver ? DateTimeOffset.UtcNow : null;
        Tell(tables, job, reason);
    }

    private static void Tell(JobDatabase tables, Job job, string reason) => tables.Events.Add(new JobEvent
    {
        JobNumber = job.Number,
        Time = DateTimeOffset.UtcNow,
        Kind = "status",
        Data = new JsonObject { ["status"] = JsonNamingPolicy.SnakeCaseLower.ConvertName(job.Status.ToString()), ["reason"] = reason, ["attempt"] = job.Attempts }.ToJsonString(),
    });
}
