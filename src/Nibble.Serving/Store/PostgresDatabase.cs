using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Diagnostics;
using Npgsql;

namespace Nibble.Serving.Store;

/// <summary>A database of PostgreSQL, which several servers may share.</summary>
internal sealed class PostgresDatabase : StoreDatabase
{
    /// <summary>The names of two locks: of who migrates, and of who adds.</summary>
    private const long Migrating = 0x4E6962626C65_01;
    private const long Adding = 0x4E6962626C65_02;

    /// <summary>
    /// So that a database that is gone or hangs is found to be within seconds, and a server that stands still in the middle of a transaction loses its locks,
    /// which would keep others from its jobs. What an address names holds instead.
    /// </summary>
    private const string Defaults = "Timeout=5;Command Timeout=10;Application Name=nibble;Options=-c idle_in_transaction_session_timeout=5s;";

    private readonly NpgsqlConnectionStringBuilder address;

    /// <exception cref="InvalidDataException">It is no connection string.</exception>
    public PostgresDatabase(string address)
    {
        try
        {
            this.address = new NpgsqlConnectionStringBuilder(Defaults + address);
        }
        catch (ArgumentException exception)
        {
            throw new InvalidDataException($"--database is no connection string for PostgreSQL: {exception.Message}", exception); // Which names the key.
        }
    }

    /// <summary>Whether an address is a connection string, and not a file.</summary>
    public static bool IsMeantBy(string address) =>
        address.Split(';').Any(part => part.TrimStart().StartsWith("Host=", StringComparison.OrdinalIgnoreCase));

    public override string Name => $"{address.Host}:{address.Port}/{address.Database ?? address.Username}";

    public override bool IsShared => true;

    public override string Clock => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS bigint)";

    public override string ForUpdate => " FOR UPDATE";

    public override string ForUpdateSkipLocked => " FOR UPDATE SKIP LOCKED";

    public override void Migrate()
    {
        using JobDatabase database = Open();
        database.Database.SetCommandTimeout(TimeSpan.FromMinutes(2)); // As long as another server may take over it.
        database.Database.OpenConnection();
        database.Database.ExecuteSqlRaw($"SELECT pg_advisory_lock({Migrating})");
        try
        {
            Migrate(database.Database);
        }
        finally
        {
            database.Database.ExecuteSqlRaw($"SELECT pg_advisory_unlock({Migrating})");
        }
    }

    public override Task AloneAsync(JobDatabase database) => database.Database.ExecuteSqlRawAsync($"SELECT pg_advisory_xact_lock({Adding})");

    protected override DbContextOptionsBuilder<JobDatabase> Configure(DbContextOptionsBuilder<JobDatabase> builder) => builder
        .UseNpgsql(address.ConnectionString)
        .ConfigureWarnings(warnings => warnings.Ignore(RelationalEventId.PendingModelChangesWarning));
}
