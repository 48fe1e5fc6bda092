using Microsoft.Data.Sqlite;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Diagnostics;
using Microsoft.EntityFrameworkCore.Infrastructure;
using Microsoft.EntityFrameworkCore.Migrations;

namespace Nibble.Serving.Store;

/// <summary>A file of SQLite, which one server at a time has; a locked file beside it keeps others away.</summary>
internal sealed class SqliteDatabase : StoreDatabase
{
    private readonly string path;

    /// <summary>Null beside the server that has it.</summary>
    private readonly FileStream? claim;

    /// <exception cref="InvalidDataException">Another service has it, or it cannot be reached.</exception>
    public SqliteDatabase(string path, bool serves)
    {
        this.path = Path.GetFullPath(path);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(this.path)!);
            claim = new FileStream($"{this.path}.lock", FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException) when (!serves && File.Exists(this.path))
        {
            // Its server has made the tables.
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new InvalidDataException($"the jobs in {path} cannot be opened; is another service using them? ({exception.Message})", exception);
        }
    }

    public override string Name => path;

    public override bool IsShared => false;

    public override string Clock => "CAST(unixepoch('subsec') * 1000 AS INTEGER)";

    /// <summary>A transaction that writes has the whole file.</summary>
    public override string ForUpdate => "";

    public override string ForUpdateSkipLocked => "";

    public override void Migrate()
    {
        using JobDatabase database = Open();
        if (claim is null)
        {
            RequireMigrated(database.Database);
            return;
        }

        database.Database.ExecuteSqlRaw("PRAGMA journal_mode = WAL");
        database.Database.ExecuteSqlRaw("DROP TABLE IF EXISTS \"__EFMigrationsLock\""); // Of a program that was killed while it had it.
        AdoptFirstVersion(database.Database);
        Migrate(database.Database);
    }

    public override Task AloneAsync(JobDatabase database) => Task.CompletedTask;

    public override void Dispose()
    {
        base.Dispose();
        claim?.Dispose();
    }

    protected override DbContextOptionsBuilder<JobDatabase> Configure(DbContextOptionsBuilder<JobDatabase> builder) => builder
        .UseSqlite(new SqliteConnectionStringBuilder { DataSource = path }.ConnectionString)
        .ConfigureWarnings(warnings => warnings.Ignore(RelationalEventId.PendingModelChangesWarning));

    /// <summary>The first version made its tables without noting any migration.</summary>
    private static void AdoptFirstVersion(DatabaseFacade database)
    {
        IHistoryRepository history = database.GetService<IHistoryRepository>();
        if (!history.Exists() && database.SqlQueryRaw<int>("SELECT COUNT(*) AS Value FROM sqlite_master WHERE name = 'Jobs'").Single() > 0)
        {
            history.CreateIfNotExists();
            database.ExecuteSqlRaw(history.GetInsertScript(new HistoryRow(database.GetMigrations().First(), "10.0")));
        }
    }
}
