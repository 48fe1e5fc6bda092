using System.Text.Json.Nodes;
using Microsoft.EntityFrameworkCore;

namespace Nibble.Serving.Store;

/// <summary>The right to run a job, which ends when another attempt begins: whatever is written about a job names the attempt that it is of.</summary>
/// <param name="Number">Of the job.</param>
/// <param name="Attempt">Of its attempts.</param>
internal sealed record JobLease(long Number, int Attempt);

/// <summary>The job runs no more, or another attempt has it.</summary>
internal sealed class LeaseLostException(JobLease lease) : Exception($"Attempt {lease.Attempt} has the job no more.");

/// <summary>How jobs change because a server runs them.</summary>
internal sealed partial class JobStore
{
    /// <summary>Failures in a row, without getting farther, that a job survives.</summary>
    private const int MostDeaths = 3;

    /// <summary>A job whose key has as many others running as it may is not next.</summary>
    private const string KeyHasRoom = """
        NOT EXISTS (SELECT * FROM "Keys" k WHERE k."Id" = "KeyId" AND k."Concurrency" <= (SELECT COUNT(*) FROM "Jobs" r WHERE r."KeyId" = k."Id" AND (r."Status" = 'Running' OR r."ClusterJob" IS NOT NULL)))
        """;

    /// <summary>Takes the oldest job that is due on a device, if it needs no more memory than is free there: none overtakes it, but where its key's limit holds it back.</summary>
    /// <param name="device">The device.</param>
    /// <param name="free">Bytes.</param>
    /// <param name="owner">The server.</param>
    /// <param name="lease">How long it is the server's.</param>
    /// <param name="cluster">The kind of cluster that runs it, where it goes on waiting for its turn; null for this machine.</param>
    public Task<Job?> ClaimAsync(string device, long free, string owner, TimeSpan lease, string? cluster = null) => WriteAsync(async tables =>
    {
        await database.AloneAsync(tables).ConfigureAwait(false); // Or two servers could each give the key its last place.
        long now = await NowAsync(tables).ConfigureAwait(false);
        List<Job> next = await LockAsync(tables, $"\"Status\" = 'Pending' AND \"Device\" = {{0}} AND \"DueAt\" <= {{1}} AND \"ClusterJob\" IS NULL AND {KeyHasRoom}", most: 1, skipLocked: true, device, now).ConfigureAwait(false);
        if (next is not [Job job] || job.Memory > free)
        {
            return null;
        }

        job.Attempts++;
        job.Owner = owner;
        job.LeaseUntil = now + (long)lease.TotalMilliseconds;
        if (cluster is not null)
        {
            (job.ClusterJob, job.ClusterHeard) = ($"{cluster}:nibble-{job.Id}-{job.Attempts}", 0);
            Tell(tables, job, $"handed to {cluster}");
            return (Job?)job;
        }

        Begin(tables, job, job.Attempts == 1 ? "its turn" : "resumes from its last checkpoint");
        return (Job?)job;
    });

    /// <summary>Keeps a job for longer.</summary>
    /// <param name="lease">The right to it.</param>
    /// <param name="duration">From now on.</param>
    /// <param name="worked">For how long it has run since this was last told.</param>
    /// <returns>What somebody wishes.</returns>
    /// <exception cref="LeaseLostException">It is another's.</exception>
    public Task<JobWish?> RenewAsync(JobLease lease, TimeSpan duration, TimeSpan worked) => WriteAsync(async tables =>
    {
        Job job = await HeldAsync(tables, lease).ConfigureAwait(false);
        job.LeaseUntil = await NowAsync(tables).ConfigureAwait(false) + (long)duration.TotalMilliseconds;
        job.RunTime += (long)worked.TotalMilliseconds;
        return job.Wish;
    });

    /// <summary>What somebody wishes of a job that runs.</summary>
    /// <exception cref="LeaseLostException">It is another's.</exception>
    public async Task<JobWish?> WishAsync(JobLease lease)
    {
        await using JobDatabase tables = database.Open();
        Job? job = await tables.Jobs.FindAsync(lease.Number).ConfigureAwait(false);
        return IsHeld(job, lease) ? job!.Wish : throw new LeaseLostException(lease);
    }

    /// <summary>Notes what a worker has said.</summary>
    /// <param name="lease">Its right to the job.</param>
    /// <param name="messages">Kinds of events, and figures; progress is no event, and changes the job alone, as does it that a cluster has begun to run it.</param>
    /// <param name="heard">How far a worker on a cluster has been listened to.</param>
    /// <exception cref="LeaseLostException">The job is another's.</exception>
    public Task NoteAsync(JobLease lease, IReadOnlyList<(string Kind, JsonObject Data)> messages, long heard = 0) => WriteAsync(async tables =>
    {
        Job job = await HeldAsync(tables, lease).ConfigureAwait(false);
        job.ClusterHeard = Math.Max(job.ClusterHeard, heard);
        foreach ((string kind, JsonObject data) in messages)
        {
            if (kind == Begun)
            {
                Begin(tables, job, data["reason"]!.GetValue<string>());
                continue;
            }

            if (kind != "progress")
            {
                tables.Events.Add(new JobEvent { JobNumber = job.Number, Time = DateTimeOffset.UtcNow, Kind = kind, Data = data.ToJsonString() });
            }

            if (kind != "log")
            {
                Update(job, data);
            }
        }

        return 0;
    });

    /// <summary>Says where a job stands whose worker has ended. A job that would go on does what was wished meanwhile instead.</summary>
    /// <param name="lease">The right to it.</param>
    /// <param name="status">Where it stands.</param>
    /// <param name="reason">Why.</param>
    /// <param name="worked">For how long it has run since this was last told.</param>
    /// <exception cref="LeaseLostException">It is another's.</exception>
    public Task<JobStatus> EndAttemptAsync(JobLease lease, JobStatus status, string reason, TimeSpan worked) => WriteAsync(async tables =>
    {
        Job job = await HeldAsync(tables, lease).ConfigureAwait(false);
        job.RunTime += (long)worked.TotalMilliseconds;
        job.Step = status == JobStatus.Completed ? job.TotalSteps : job.Step;
        Leave(tables, job, status, reason);
        return job.Status;
    });

    /// <summary>Says that an attempt ended without a verdict: another goes on after a while, unless too many did so.</summary>
    /// <exception cref="LeaseLostException">It is another's.</exception>
    public Task<JobStatus> EndAttemptInDeathAsync(JobLease lease, string reason, TimeSpan worked) => WriteAsync(async tables =>
    {
        Job job = await HeldAsync(tables, lease).ConfigureAwait(false);
        job.RunTime += (long)worked.TotalMilliseconds;
        Die(tables, job, reason, await NowAsync(tables).ConfigureAwait(false));
        return job.Status;
    });

    /// <summary>
    /// Puts jobs back into the queue whose servers are silent: whose leases are over, or all when no server is left that could have one. Those with workers on
    /// clusters wait to be taken over.
    /// </summary>
    public Task TakeBackAsync(bool all) => WriteAsync(async tables =>
    {
        long now = await NowAsync(tables).ConfigureAwait(false);
        if (all)
        {
            await tables.Jobs.Where(item => item.ClusterJob != null).ExecuteUpdateAsync(set => set.SetProperty(item => item.LeaseUntil, 0L)).ConfigureAwait(false);
        }

        foreach (Job job in await LockAsync(tables, "\"Status\" = 'Running' AND \"ClusterJob\" IS NULL AND \"LeaseUntil\" <= {0}", most: 100, skipLocked: true, all ? long.MaxValue : now).ConfigureAwait(false))
        {
            Die(tables, job, all ? "the service ended while the job ran" : $"the server {job.Owner} is silent", now);
        }

        return 0;
    });

    private static bool IsHeld(Job? job, JobLease lease) => job is { Owner: not null } && job.Attempts == lease.Attempt;

    private async Task<Job> HeldAsync(JobDatabase tables, JobLease lease)
    {
        Job job = (await LockAsync(tables, "\"Number\" = {0}", most: 1, skipLocked: false, lease.Number).ConfigureAwait(false)).Single();
        return IsHeld(job, lease) ? job : throw new LeaseLostException(lease);
    }

    private static void Begin(JobDatabase tables, Job job, string reason)
    {
        job.Started ??= DateTimeOffset.UtcNow;
        Move(tables, job, JobStatus.Running, reason);
    }

    private static void Die(JobDatabase tables, Job job, string reason, long now)
    {
        job.Deaths++;
        bool rests = job.Deaths <= MostDeaths;
        TimeSpan pause = TimeSpan.FromSeconds(Math.Pow(2, job.Deaths - 1));
        job.DueAt = now + (long)pause.TotalMilliseconds;
        Leave(
            tables, job, rests ? JobStatus.Pending : JobStatus.Failed,
            rests ? $"{reason}; another worker goes on from the last checkpoint in {pause.TotalSeconds:0} s" : $"{reason}; so did {MostDeaths} before it, and the job got no farther");
    }

    private static void Leave(JobDatabase tables, Job job, JobStatus status, string reason)
    {
        (JobStatus, string) end = (status, job.Wish) switch
        {
            (JobStatus.Pending or JobStatus.Paused, JobWish.Cancel) => (JobStatus.Cancelled, CancelledByRequest),
            (JobStatus.Pending, JobWish.Pause) => (JobStatus.Paused, PausedByRequest),
            _ => (status, reason),
        };
        (job.Owner, job.LeaseUntil, job.Wish, job.ClusterJob) = (null, 0, null, null);
        Move(tables, job, end.Item1, end.Item2);
    }

    private static void Update(Job job, JsonObject data)
    {
        job.Step = data["step"]?.GetValue<int>() ?? job.Step;
        job.TotalSteps = data["total_steps"]?.GetValue<int>() ?? job.TotalSteps;
        if (job.Step > job.FarthestStep)
        {
            (job.FarthestStep, job.Deaths) = (job.Step, 0);
        }

        JsonObject metrics = JsonNode.Parse(job.Metrics)!.AsObject();
        foreach ((string name, JsonNode? value) in data.Where(item => item.Key is not ("step" or "total_steps")))
        {
            metrics[name] = value?.DeepClone();
        }

        job.Metrics = metrics.ToJsonString();
    }
}
