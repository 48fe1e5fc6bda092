using System.Data.Common;
using Nibble.Serving.Store;
using Nibble.Tests;

namespace Nibble.Serving.Tests;

/// <summary>A store on a database of its own, on SQLite or on PostgreSQL.</summary>
internal sealed class TestStore : IDisposable
{
    private readonly TempFolder folder = new();
    private readonly List<JobStore> stores = [];

    private TestStore(string? address) => Address = address ?? folder["jobs.db"];

    /// <summary>The kinds of databases that every test of the store runs on.</summary>
    public static TheoryData<string> Kinds => ["SQLite", "PostgreSQL"];

    public string Address { get; }

    public string this[string path] => folder[path];

    public static async Task<TestStore> NewAsync(string kind, PostgresServer server) => new(kind == "PostgreSQL" ? await server.NewDatabaseAsync() : null);

    /// <summary>Opens the store, as one more server would where that may be.</summary>
    public JobStore Open()
    {
        var store = new JobStore(StoreDatabase.At(Address));
        stores.Add(store);
        return store;
    }

    /// <summary>The same again for one that was closed.</summary>
    public void Close()
    {
        stores.ForEach(store => store.Dispose());
        stores.Clear();
    }

    /// <summary>Runs SQL on the database itself.</summary>
    public IReadOnlyList<string> Ask(string question)
    {
        using DbConnection connection = Address.Contains('=', StringComparison.Ordinal)
            ? new Npgsql.NpgsqlConnection($"{Address};Pooling=false")
            : new Microsoft.Data.Sqlite.SqliteConnection($"Data Source={Address};Pooling=false");
        connection.Open();
        using DbCommand command = connection.CreateCommand();
        command.CommandText = question;
        using DbDataReader reader = command.ExecuteReader();
        var rows = new List<string>();
        while (reader.Read())
        {
            rows.Add(string.Join(' ', Enumerable.Range(0, reader.FieldCount).Select(reader.GetValue)));
        }

        return rows;
    }

    /// <summary>Makes the tables as the model has them, without migrations.</summary>
    public void CreateFromModel()
    {
        using var database = StoreDatabase.At(Address);
        using JobDatabase tables = database.Open();
        tables.Database.EnsureCreated();
    }

    public static Job Job(string name, string? key = null, long memory = 0, string? keyId = null) => new()
    {
        Id = $"job-{name}",
        ModelName = "model",
        TrainingDataPath = "data",
        OutputDir = name,
        Folder = $"/outputs/{name}",
        Config = "{}",
        KeyId = keyId,
        IdempotencyKey = key,
        RequestHash = "",
        Memory = memory,
        Created = DateTimeOffset.UtcNow,
    };

    public void Dispose()
    {
        Close();
        folder.Dispose();
    }
}
