namespace Nibble.Serving.Store;

/// <summary>How jobs change servers whose workers run on a cluster, and go on meanwhile.</summary>
internal sealed partial class JobStore
{
    /// <summary>The kind of message that says that a cluster runs the worker now.</summary>
    public const string Begun = "begun";

    /// <summary>Takes a job whose worker runs on a cluster and whose server is gone; the worker goes on.</summary>
    /// <param name="cluster">The kind of cluster.</param>
    /// <param name="owner">The server.</param>
    /// <param name="lease">How long it is the server's.</param>
    public Task<Job?> TakeOverAsync(string cluster, string owner, TimeSpan lease) => WriteAsync(async tables =>
    {
        long now = await NowAsync(tables).ConfigureAwait(false);
        List<Job> left = await LockAsync(tables, "\"ClusterJob\" IS NOT NULL AND \"ClusterJob\" LIKE {0} AND \"LeaseUntil\" <= {1}", most: 1, skipLocked: true, $"{cluster}:%", now).ConfigureAwait(false);
        if (left is not [Job job])
        {
            return null;
        }

        job.Attempts++;
        job.Owner = owner;
        job.LeaseUntil = now + (long)lease.TotalMilliseconds;
        Tell(tables, job, $"its worker on {cluster} is looked after again");
        return (Job?)job;
    });

    /// <summary>Lets another server look after a job's worker, which goes on.</summary>
    /// <exception cref="LeaseLostException">It is another's.</exception>
    public Task<JobStatus> LeaveToOthersAsync(JobLease lease, TimeSpan worked) => WriteAsync(async tables =>
    {
        Job job = await HeldAsync(tables, lease).ConfigureAwait(false);
        job.RunTime += (long)worked.TotalMilliseconds;
        (job.Owner, job.LeaseUntil) = (null, 0);
        return job.Status;
    });
}
