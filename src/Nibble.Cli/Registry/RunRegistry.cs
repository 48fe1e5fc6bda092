using System.Diagnostics;
using System.Globalization;
using Microsoft.Data.Sqlite;
using Nibble.Evaluation;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Cli.Registry;

/// <summary>
/// The runs of this user: <c>runs.db</c> in the folder that NIBBLE_HOME names, or else in the user's folder for data. Each call opens
/// the file for itself, so that any number of processes can use it. Where the file is damaged, locked for long or not writable, what asks
/// it throws an InvalidDataException, and what notes something warns in one line and goes on: no note is worth a run.
/// </summary>
internal static class RunRegistry
{
    private const int Version = 1;

    private const string Schema =
        """
        CREATE TABLE IF NOT EXISTS runs (
            id INTEGER PRIMARY KEY AUTOINCREMENT, folder TEXT NOT NULL, status TEXT NOT NULL, started TEXT NOT NULL, ended TEXT, engine_version TEXT, method TEXT NOT NULL,
            base TEXT NOT NULL, base_hash TEXT, data TEXT NOT NULL, data_hash TEXT, adapter_hash TEXT, steps INTEGER, loss REAL, eval_loss REAL,
            machine TEXT NOT NULL, process INTEGER NOT NULL, process_started TEXT NOT NULL);
        CREATE TABLE IF NOT EXISTS metrics (
            adapter_hash TEXT NOT NULL, data_hash TEXT NOT NULL, examples INTEGER NOT NULL, metric TEXT NOT NULL, data TEXT NOT NULL, score REAL, low REAL, high REAL,
            PRIMARY KEY (adapter_hash, data_hash, examples, metric));
        """;

    /// <summary>The database's file.</summary>
    public static string FilePath => Path.Combine(
        Environment.GetEnvironmentVariable("NIBBLE_HOME") is { Length: > 0 } home
            ? home
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify), "nibble"),
        "runs.db");

    /// <summary>Notes that a run begins, or that it goes on.</summary>
    /// <returns>Its number; null when it could not be noted.</returns>
    public static long? Begin(RunConfig config, bool resume) => Note(connection =>
    {
        using var process = Process.GetCurrentProcess();
        using SqliteCommand command = connection.CreateCommand();
        command.Parameters.AddRange(
        [
            Parameter("folder", Path.GetFullPath(config.OutputDir)), Parameter("started", Text(DateTimeOffset.UtcNow)), Parameter("method", ConfigBinder.KeyOf(config.Method.ToString())),
            Parameter("engine", typeof(RunManifest).Assembly.GetName().Version?.ToString(3)), Parameter("base", Path.GetFullPath(config.Model)),
            Parameter("data", Path.GetFullPath(config.Data.Train)), Parameter("machine", Environment.MachineName), Parameter("process", process.Id),
            Parameter("process_started", Text(process.StartTime)),
        ]);
        command.CommandText = "UPDATE runs SET status = 'running', ended = NULL, machine = @machine, process = @process, process_started = @process_started WHERE id = (SELECT max(id) FROM runs WHERE folder = @folder) RETURNING id";
        if (resume && command.ExecuteScalar() is long earlier)
        {
            return earlier;
        }

        command.CommandText =
            "INSERT INTO runs (folder, status, started, engine_version, method, base, data, machine, process, process_started) "
            + "VALUES (@folder, 'running', @started, @engine, @method, @base, @data, @machine, @process, @process_started) RETURNING id";
        return (long)command.ExecuteScalar()!;
    });

    /// <summary>Notes how a run ended.</summary>
    /// <param name="id">Its number.</param>
    /// <param name="status">completed, failed or interrupted.</param>
    /// <param name="folder">Where it is, which tells what the run came to.</param>
    public static void End(long id, string status, string folder) => Note(connection =>
    {
        var run = RunRecord.Load(folder);
        RunHashes? hashes = status == "completed" ? run.Manifest.Hashes : null;
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText =
            "UPDATE runs SET status = @status, ended = @ended, base_hash = @base, data_hash = @data, adapter_hash = @adapter, steps = @steps, loss = @loss, eval_loss = @eval WHERE id = @id";
        command.Parameters.AddRange(
        [
            Parameter("id", id), Parameter("status", status), Parameter("ended", Text(DateTimeOffset.UtcNow)), Parameter("base", hashes?.Base), Parameter("data", hashes?.Inputs["data.train"]),
            Parameter("adapter", hashes?.Adapter), Parameter("steps", run.LastStep?.Step), Parameter("loss", run.LastStep?.Loss), Parameter("eval", run.LastEvaluation?.EvalLoss),
        ]);
        return command.ExecuteNonQuery();
    });

    /// <summary>Notes what was measured of the weights of a folder, in place of what was measured before on the same examples.</summary>
    public static void AddMetrics(string folder, EvaluationReport report) => Note(connection =>
    {
        string adapter = RunHashes.OfWeights(folder);
        using SqliteTransaction transaction = connection.BeginTransaction();
        foreach (EvaluationResult result in report.Results)
        {
            using SqliteCommand command = connection.CreateCommand();
            command.CommandText =
                "INSERT OR REPLACE INTO metrics (adapter_hash, data_hash, examples, metric, data, score, low, high) VALUES (@adapter, @hash, @examples, @metric, @data, @score, @low, @high)";
            command.Parameters.AddRange(
            [
                Parameter("adapter", adapter), Parameter("hash", report.DataSha256), Parameter("examples", report.Examples), Parameter("metric", result.Metric),
                Parameter("data", Path.GetFullPath(report.Data)), Parameter("score", result.Score), Parameter("low", result.Interval?.Low), Parameter("high", result.Interval?.High),
            ]);
            command.ExecuteNonQuery();
        }

        transaction.Commit();
        return report.Results.Count;
    });

    /// <summary>The newest runs, the newest first.</summary>
    public static IReadOnlyList<RunEntry> Newest(int count) => Select("ORDER BY id DESC LIMIT @value", count);

    /// <summary>A run by its number; null when there is none.</summary>
    public static RunEntry? Find(long id) => Select("WHERE id = @value", id) is [RunEntry entry] ? entry : null;

    /// <summary>The runs that made weights, the newest first.</summary>
    /// <param name="hash">The beginning of the weights' SHA-256, in hexadecimal.</param>
    public static IReadOnlyList<RunEntry> OfAdapter(string hash) => Select("WHERE adapter_hash LIKE @value ORDER BY id DESC", $"{hash}%");

    private static List<RunEntry> Select(string which, object value) => !File.Exists(FilePath) ? [] : Use(connection =>
    {
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText =
            "SELECT id, folder, status, started, ended, engine_version, method, base, base_hash, data, data_hash, adapter_hash, steps, loss, eval_loss, machine, process, process_started FROM runs " + which;
        command.Parameters.Add(Parameter("value", value));
        using SqliteDataReader row = command.ExecuteReader();
        var entries = new List<RunEntry>();
        while (row.Read())
        {
            string? text(int column) => row.IsDBNull(column) ? null : row.GetString(column);
            double? number(int column) => row.IsDBNull(column) ? null : row.GetDouble(column);
            bool died = row.GetString(2) == "running" && row.GetString(15) == Environment.MachineName && !IsAlive(row.GetInt32(16), Time(row.GetString(17)));
            entries.Add(new RunEntry(
                row.GetInt64(0), row.GetString(1), died ? "died" : row.GetString(2), Time(row.GetString(3)), text(4) is { } ended ? Time(ended) : null, text(5),
                row.GetString(6), row.GetString(7), text(8), row.GetString(9), text(10), text(11), row.IsDBNull(12) ? null : row.GetInt64(12), number(13), number(14))
            {
                Metrics = text(11) is { } adapter ? MetricsOf(connection, adapter) : [],
            });
        }

        return entries;
    });

    private static List<MetricEntry> MetricsOf(SqliteConnection connection, string adapter)
    {
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText = "SELECT metric, score, low, high, data, data_hash, examples FROM metrics WHERE adapter_hash = @adapter ORDER BY data, examples, metric";
        command.Parameters.Add(Parameter("adapter", adapter));
        using SqliteDataReader row = command.ExecuteReader();
        var metrics = new List<MetricEntry>();
        while (row.Read())
        {
            double? number(int column) => row.IsDBNull(column) ? null : row.GetDouble(column);
            metrics.Add(new MetricEntry(row.GetString(0), number(1), number(2), number(3), row.GetString(4), row.GetString(5), row.GetInt64(6)));
        }

        return metrics;
    }

    private static T? Note<T>(Func<SqliteConnection, T> work)
        where T : struct
    {
        try
        {
            return Use(work);
        }
        catch (Exception exception)
        {
            Console.Error.WriteLine($"nibble: warning: {exception.Message.ReplaceLineEndings(" ")}");
            return null;
        }
    }

    private static T Use<T>(Func<SqliteConnection, T> work)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(FilePath)!);
            const int PatienceInSeconds = 5;
            using var connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = FilePath, Pooling = false, DefaultTimeout = PatienceInSeconds }.ConnectionString);
            connection.Open();
            Prepare(connection);
            return work(connection);
        }
        catch (Exception exception) when (exception is SqliteException or IOException or UnauthorizedAccessException)
        {
            throw new InvalidDataException($"the registry of runs {FilePath} cannot be used: {exception.Message}", exception);
        }
    }

    private static void Prepare(SqliteConnection connection)
    {
        using SqliteCommand command = connection.CreateCommand();
        command.CommandText = "PRAGMA user_version";
        long version = (long)command.ExecuteScalar()!;
        if (version > Version)
        {
            throw new InvalidDataException($"the registry of runs {FilePath} is of version {version}; this program knows version {Version}.");
        }

        if (version < Version)
        {
            command.CommandText = "PRAGMA journal_mode = WAL";
            command.ExecuteScalar();
            command.CommandText = $"BEGIN IMMEDIATE; {Schema} PRAGMA user_version = {Version}; COMMIT";
            command.ExecuteNonQuery();
        }
    }

    /// <summary>Whether a process still is; one that began at another time has only got its number.</summary>
    private static bool IsAlive(int id, DateTimeOffset started)
    {
        try
        {
            using var process = Process.GetProcessById(id);
            return Math.Abs((process.StartTime - started.LocalDateTime).TotalSeconds) < 2;
        }
        catch (Exception exception) when (exception is ArgumentException or InvalidOperationException)
        {
            return false;
        }
    }

    private static SqliteParameter Parameter(string name, object? value) => new($"@{name}", value ?? DBNull.Value);

    private static DateTimeOffset Time(string text) => DateTimeOffset.Parse(text, CultureInfo.InvariantCulture);

    private static string Text(DateTimeOffset time) => time.ToString("O", CultureInfo.InvariantCulture);
}
