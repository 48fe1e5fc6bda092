using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Infrastructure;

namespace Nibble.Serving.Store;

/// <summary>Where the tables lie: all in which one database differs from another.</summary>
internal abstract class StoreDatabase : IDisposable
{
    private PooledDbContextFactory<JobDatabase>? contexts;

    /// <summary>By its address: a connection string of PostgreSQL, or a file of SQLite.</summary>
    /// <param name="address">Where it is.</param>
    /// <param name="serves">Whether it is for a server, which a file has one of at a time; else it may be used beside one.</param>
    /// <exception cref="InvalidDataException">It cannot be used.</exception>
    public static StoreDatabase At(string address, bool serves = true) => PostgresDatabase.IsMeantBy(address) ? new PostgresDatabase(address) : new SqliteDatabase(address, serves);

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

    public JobDatabase Open() => (contexts ??= new(Configure(new DbContextOptionsBuilder<JobDatabase>()).Options)).CreateDbContext();

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

    /// <exception cref="InvalidDataException">The tables are of another form than this program's.</exception>
    protected void RequireMigrated(DatabaseFacade database)
    {
        string last = database.GetMigrations().Last();
        if (database.GetAppliedMigrations().LastOrDefault() is var applied && applied != last)
        {
            throw new InvalidDataException($"a service of version {applied} uses the jobs in {Name}; this program is of version {last}.");
        }
    }
}
