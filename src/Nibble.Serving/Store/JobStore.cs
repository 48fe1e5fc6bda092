using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;

namespace Nibble.Serving.Store;

/// <summary>
/// Jobs and what happened to them, in SQLite. One process at a time may have the file open as its store; a second is refused. Each change
/// of a job and the event that tells of it are one transaction.
/// </summary>
internal sealed partial class JobStore : IDisposable
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

    /// <summary>Whether a running job is to be stopped.</summary>
    public async Task<bool> IsCancelRequestedAsync(long number)
    {
        await using JobDatabase database = Open();
        return await database.Jobs.Where(job => job.Number == number).Select(job => job.CancelRequested).SingleAsync().ConfigureAwait(false);
    }

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
}
