using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;

namespace Nibble.Serving.Store;

/// <summary>
/// Jobs and what happened to them, in SQLite. One process at a time may have the file open as its store; a second is refused. Each change
/// of a job and the event that tells of it are one transaction.
/// </summary>
internal sealed class JobStore : IDisposable
{
    private const int Version = 1;

    private readonly DbContextOptions<JobDatabase> options;
    private readonly FileStream claim;
    private readonly SemaphoreSlim writing = new(1);
    private TaskCompletionSource changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Opens the store, and makes it where there is none.</summary>
    /// <exception cref="InvalidDataException">Another service has it, it is of a newer version, or it cannot be used.</exception>
    public JobStore(string path)
    {
        string full = Path.GetFullPath(path);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(full)!);
            claim = new FileStream($"{full}.lock", FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new InvalidDataException($"the jobs in {path} cannot be opened; is another service using them? ({exception.Message})", exception);
        }

        Workers = Directory.CreateDirectory($"{full}.workers").FullName;
        options = new DbContextOptionsBuilder<JobDatabase>().UseSqlite(new SqliteConnectionStringBuilder { DataSource = full }.ConnectionString).Options;
        try
        {
            using JobDatabase database = Open();
            Prepare(database, path);
        }
        catch
        {
            claim.Dispose();
            throw;
        }
    }

    /// <summary>The folder of the locks that workers hold.</summary>
    public string Workers { get; }

    /// <summary>Ends at the next change.</summary>
    public Task Changed => Volatile.Read(ref changed).Task;

    public async Task<Job?> FindAsync(string id, CancellationToken cancellation = default)
    {
        await using JobDatabase database = Open();
        return await database.Jobs.AsNoTracking().SingleOrDefaultAsync(job => job.Id == id, cancellation).ConfigureAwait(false);
    }

    /// <summary>The job that was added with a key.</summary>
    public async Task<Job?> FindByKeyAsync(string key, CancellationToken cancellation)
    {
        await using JobDatabase database = Open();
        return await database.Jobs.AsNoTracking().SingleOrDefaultAsync(job => job.IdempotencyKey == key, cancellation).ConfigureAwait(false);
    }

    /// <summary>The newest jobs first.</summary>
    public async Task<IReadOnlyList<Job>> ListAsync(int limit, Job? after, JobStatus? status, CancellationToken cancellation)
    {
        await using JobDatabase database = Open();
        IQueryable<Job> jobs = database.Jobs.AsNoTracking();
        jobs = after is null ? jobs : jobs.Where(job => job.Number < after.Number);
        jobs = status is null ? jobs : jobs.Where(job => job.Status == status);
        return await jobs.OrderByDescending(job => job.Number).Take(limit).ToListAsync(cancellation).ConfigureAwait(false);
    }

    /// <summary>How many jobs stand where.</summary>
    public async Task<IReadOnlyDictionary<JobStatus, int>> CountAsync(CancellationToken cancellation)
    {
        await using JobDatabase database = Open();
        return await database.Jobs.GroupBy(job => job.Status).Select(group => new { group.Key, Count = group.Count() })
            .ToDictionaryAsync(group => group.Key, group => group.Count, cancellation).ConfigureAwait(false);
    }

    /// <summary>A job's events after one of them, in order.</summary>
    public async Task<IReadOnlyList<JobEvent>> EventsAsync(Job job, long after, int limit, CancellationToken cancellation)
    {
        await using JobDatabase database = Open();
        return await database.Events.AsNoTracking().Where(item => item.JobNumber == job.Number && item.Number > after)
            .OrderBy(item => item.Number).Take(limit).ToListAsync(cancellation).ConfigureAwait(false);
    }

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

    /// <summary>Whether a running job is to be stopped.</summary>
    public async Task<bool> IsCancelRequestedAsync(long number)
    {
        await using JobDatabase database = Open();
        return await database.Jobs.Where(job => job.Number == number).Select(job => job.CancelRequested).SingleAsync().ConfigureAwait(false);
    }

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

    public void Dispose()
    {
        writing.Dispose();
        claim.Dispose();
    }

    private JobDatabase Open() => new(options);

    private static void Prepare(JobDatabase database, string path)
    {
        try
        {
            database.Database.EnsureCreated(); // In WAL mode.
            long version = database.Database.SqlQueryRaw<long>("SELECT user_version AS Value FROM pragma_user_version").Single();
            if (version > Version)
            {
                throw new InvalidDataException($"the jobs in {path} are of version {version}; this program knows version {Version}.");
            }

            database.Database.ExecuteSqlRaw($"PRAGMA user_version = {Version}");
        }
        catch (SqliteException exception)
        {
            throw new InvalidDataException($"the jobs in {path} cannot be used: {exception.Message}", exception);
        }
    }

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

    /// <summary>One change at a time, whole or not at all.</summary>
    private async Task<T> WriteAsync<T>(Func<JobDatabase, Task<T>> change)
    {
        await writing.WaitAsync().ConfigureAwait(false);
        try
        {
            await using JobDatabase database = Open();
            await using var transaction = await database.Database.BeginTransactionAsync().ConfigureAwait(false);
            T result = await change(database).ConfigureAwait(false);
            await database.SaveChangesAsync().ConfigureAwait(false);
            await transaction.CommitAsync().ConfigureAwait(false);
            Interlocked.Exchange(ref changed, new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously)).SetResult();
            return result;
        }
        finally
        {
            writing.Release();
        }
    }
}
