using System.Data.Common;
using Microsoft.EntityFrameworkCore;

namespace Nibble.Serving.Store;

/// <summary>
/// Jobs, what happened to them, and uploaded files. Each change of a job and the event that tells of it are one transaction, which has
/// the job's row to itself; so a job's events are numbered in the order in which they become visible.
/// </summary>
internal sealed partial class JobStore : IDisposable
{
    private static readonly TimeSpan Glance = TimeSpan.FromSeconds(1);

    private readonly StoreDatabase database;
    private readonly SemaphoreSlim writing = new(1);
    private readonly Timer glances;
    private TaskCompletionSource changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Opens the store, makes it where there is none, and brings an older one up to date.</summary>
    /// <param name="database">Which the store disposes of.</param>
    /// <exception cref="InvalidDataException">It is of a newer version, or it cannot be used.</exception>
    public JobStore(StoreDatabase database)
    {
        this.database = database;
        glances = new Timer(_ => Wake(), state: null, Glance, Glance);
        try
        {
            database.Migrate();
        }
        catch (Exception exception)
        {
            Dispose();
            throw IsUnreachable(exception) ? new InvalidDataException($"the jobs in {database.Name} cannot be used: {exception.GetBaseException().Message}", exception) : exception;
        }
    }

    /// <summary>Whether an exception says that the database does not answer, or not now.</summary>
    public static bool IsUnreachable(Exception? exception) => exception is DbException or TimeoutException || (exception is not null && IsUnreachable(exception.InnerException));

    /// <summary>Whether other servers may change it.</summary>
    public bool IsShared => database.IsShared;

    /// <summary>Ends at the next change that is made here, and after a moment, for others may have changed something.</summary>
    public Task Changed => Volatile.Read(ref changed).Task;

    /// <summary>Waits for a change after <paramref name="seen"/> was taken from <see cref="Changed"/>, or until it is cancelled.</summary>
    public static Task WaitAsync(Task seen, CancellationToken cancellation) => seen.WaitAsync(cancellation).ContinueWith(_ => { }, TaskScheduler.Default);

    public async Task<Job?> FindAsync(string id, CancellationToken cancellation = default)
    {
        await using JobDatabase tables = database.Open();
        return await tables.Jobs.AsNoTracking().SingleOrDefaultAsync(job => job.Id == id, cancellation).ConfigureAwait(false);
    }

    /// <summary>The job that was added with a key.</summary>
    public async Task<Job?> FindByKeyAsync(string key, CancellationToken cancellation)
    {
        await using JobDatabase tables = database.Open();
        return await tables.Jobs.AsNoTracking().SingleOrDefaultAsync(job => job.IdempotencyKey == key, cancellation).ConfigureAwait(false);
    }

    /// <summary>The newest jobs first.</summary>
    public async Task<IReadOnlyList<Job>> ListAsync(int limit, Job? after, JobStatus? status, CancellationToken cancellation)
    {
        await using JobDatabase tables = database.Open();
        IQueryable<Job> jobs = tables.Jobs.AsNoTracking();
        jobs = after is null ? jobs : jobs.Where(job => job.Number < after.Number);
        jobs = status is null ? jobs : jobs.Where(job => job.Status == status);
        return await jobs.OrderByDescending(job => job.Number).Take(limit).ToListAsync(cancellation).ConfigureAwait(false);
    }

    /// <summary>How many jobs stand where.</summary>
    public async Task<IReadOnlyDictionary<JobStatus, int>> CountAsync(CancellationToken cancellation)
    {
        await using JobDatabase tables = database.Open();
        return await tables.Jobs.GroupBy(job => job.Status).Select(group => new { group.Key, Count = group.Count() })
            .ToDictionaryAsync(group => group.Key, group => group.Count, cancellation).ConfigureAwait(false);
    }

    /// <summary>A job's events after one of them, in order.</summary>
    public async Task<IReadOnlyList<JobEvent>> EventsAsync(Job job, long after, int limit, CancellationToken cancellation)
    {
        await using JobDatabase tables = database.Open();
        return await tables.Events.AsNoTracking().Where(item => item.JobNumber == job.Number && item.Number > after)
            .OrderBy(item => item.Number).Take(limit).ToListAsync(cancellation).ConfigureAwait(false);
    }

    /// <summary>A job's newest events before one of them, the newest first.</summary>
    public async Task<IReadOnlyList<JobEvent>> EventsBeforeAsync(Job job, long before, int limit, CancellationToken cancellation)
    {
        await using JobDatabase tables = database.Open();
        return await tables.Events.AsNoTracking().Where(item => item.JobNumber == job.Number && item.Number < before)
            .OrderByDescending(item => item.Number).Take(limit).ToListAsync(cancellation).ConfigureAwait(false);
    }

    public void Dispose()
    {
        glances.Dispose();
        writing.Dispose();
        database.Dispose();
    }

    /// <summary>A change, whole or not at all. Who waits for changes is woken only if there was one.</summary>
    private async Task<T> WriteAsync<T>(Func<JobDatabase, Task<T>> change)
    {
        await (IsShared ? Task.CompletedTask : writing.WaitAsync()).ConfigureAwait(false); // SQLite writes one thing at a time anyway, and its own queue is not fair.
        try
        {
            await using JobDatabase tables = database.Open();
            await using var transaction = await tables.Database.BeginTransactionAsync().ConfigureAwait(false);
            T result = await change(tables).ConfigureAwait(false);
            int saved = await tables.SaveChangesAsync().ConfigureAwait(false);
            await transaction.CommitAsync().ConfigureAwait(false);
            if (saved > 0)
            {
                Wake();
            }

            return result;
        }
        finally
        {
            if (!IsShared)
            {
                writing.Release();
            }
        }
    }

    private void Wake() => Interlocked.Exchange(ref changed, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();

    /// <summary>Rows that the transaction is about to change, the oldest first.</summary>
    /// <param name="tables">The transaction's.</param>
    /// <param name="condition">In SQL, with the arguments as {0}, {1} and so on.</param>
    /// <param name="most">How many rows.</param>
    /// <param name="skipLocked">Leaves out rows that somebody else is changing, instead of waiting for them.</param>
    /// <param name="arguments">Of the condition.</param>
    private Task<List<Job>> LockAsync(JobDatabase tables, string condition, int most, bool skipLocked, params object[] arguments)
    {
        string query = $"SELECT * FROM \"Jobs\" WHERE {condition} ORDER BY \"Number\" LIMIT {most}{(skipLocked ? database.ForUpdateSkipLocked : database.ForUpdate)}";
        return tables.Jobs.FromSqlRaw(query, arguments).ToListAsync();
    }

    private Task<long> NowAsync(JobDatabase tables)
    {
        string query = $"SELECT {database.Clock} AS \"Value\"";
        return tables.Database.SqlQueryRaw<long>(query).SingleAsync();
    }
}
