using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Infrastructure;

namespace Nibble.Serving.Store;

/// <summary>Where the tables lie: all in which one database differs from another.</summary>
internal abstract class StoreDatabase : IDisposable
{
    private DbContextOptions<JobDatabase>? options;

    /// <summary>By its address: a connection string of PostgreSQL, or a file of SQLite.</summary>
    /// <exception cref="InvalidDataException">It cannot be used.</exception>
    public static StoreDatabase At(string address) => PostgresDatabase.IsMeantBy(address) ? new PostgresDatabase(address) : new SqliteDatabase(address);

    /// <summary>What messages call it; without a password.</summary>
    public abstract string Name { get; }

    /// <summary>Whether several servers may use it at the same time.</summary>
    public abstract bool IsShared { get; }

    /// <summary>Milliseconds since 1970 by its clock, in SQL.</summary>
    public abstract string Clock { get; }

    /// <summary>Ends a query for rows that the transaction is about to change.</summary>
    public abstract string ForUpdate { get; }

    /// <summary>The same, for rows that nobody else is changing.</summary>
    public abstract string ForUpdateSkipLocked { get; }

    public JobDatabase Open() => new(options ??= Configure(new DbContextOptionsBuilder<JobDatabase>()).Options);

    /// <summary>Brings the tables to the form that this program knows, one program at a time.</summary>
    /// <exception cref="InvalidDataException">They are of a newer form.</exception>
    public abstract void Migrate();

    /// <summary>Lets one transaction of all servers at a time go on, until it ends.</summary>
    public abstract Task AloneAsync(JobDatabase database);

    public virtual void Dispose()
    {
    }

    protected abstract DbContextOptionsBuilder<JobDatabase> Configure(DbContextOptionsBuilder<JobDatabase> builder);

    protected void Migrate(DatabaseFacade database)
    {
        string[] known = [.. database.GetMigrations()];
        if (database.GetAppliedMigrations().Except(known).Order(StringComparer.Ordinal).LastOrDefault() is { } newer)
        {
            throw new InvalidDataException($"the jobs in {Name} are of version {newer}; this program knows version {known[^1]}.");
        }

        database.Migrate();
    }
}
