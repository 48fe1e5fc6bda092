using Microsoft.Data.Sqlite;
using Nibble.Serving.Store;
using Nibble.Tests;

namespace Nibble.Serving.Tests;

/// <summary>The file that keeps the jobs.</summary>
public class StoreTests
{
    [Fact]
    public void A_store_writes_ahead_and_knows_its_version()
    {
        using var folder = new TempFolder();
        new JobStore(folder["jobs.db"]).Dispose();
        Assert.Equal("wal", Ask(folder["jobs.db"], "PRAGMA journal_mode"));
        Assert.Equal(1L, Ask(folder["jobs.db"], "PRAGMA user_version"));
        new JobStore(folder["jobs.db"]).Dispose();
    }

    [Fact]
    public void A_store_of_a_newer_version_is_refused_and_stays_as_it_is()
    {
        using var folder = new TempFolder();
        new JobStore(folder["jobs.db"]).Dispose();
        Ask(folder["jobs.db"], "PRAGMA user_version = 7");
        string problem = Assert.Throws<InvalidDataException>(() => new JobStore(folder["jobs.db"])).Message;
        Assert.Contains("version 7", problem, StringComparison.Ordinal);
        Assert.Equal(7L, Ask(folder["jobs.db"], "PRAGMA user_version"));
    }

    [Fact]
    public void A_file_that_is_no_store_is_refused()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["jobs.db"], new string('x', 5000));
        Assert.Contains("jobs.db", Assert.Throws<InvalidDataException>(() => new JobStore(folder["jobs.db"])).Message, StringComparison.Ordinal);
    }

    private static object? Ask(string path, string question)
    {
        using var connection = new SqliteConnection($"Data Source={path};Pooling=false");
        connection.Open();
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText = question;
        return command.ExecuteScalar();
    }
}
