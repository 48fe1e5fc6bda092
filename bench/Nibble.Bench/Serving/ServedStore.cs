using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Nibble.Serving.Store;
using Nibble.Tests;

namespace Nibble.Bench.Serving;

/// <summary>The real program, over a store of SQLite that has seen many jobs.</summary>
internal sealed class ServedStore : IDisposable
{
    private const string Model = "stories";
    private const string Data = "train.jsonl";
    private const string Listening = "listening on ";
    private const int EventsEach = 6;

    private readonly string folder = Directory.CreateTempSubdirectory("nibble-bench-").FullName;
    private readonly Process process;
    private readonly Task<string> words;

    /// <summary>Fills the store and begins to serve.</summary>
    /// <param name="jobs">Jobs that are over: most completed, one in ten failed.</param>
    /// <exception cref="InvalidOperationException">The program or the model is not there, or it does not begin to serve.</exception>
    public ServedStore(int jobs)
    {
        string shared = SharedRoot.Path ?? throw new InvalidOperationException(SharedRoot.Absent);
        foreach (string name in (string[])["models", "data", "outputs"])
        {
            Directory.CreateDirectory(Path.Combine(folder, name));
        }

        File.Copy(Path.Combine(shared, "vectors", "training", "short", "lora", "train.jsonl"), Path.Combine(folder, "data", Data));
        Directory.CreateDirectory(Path.Combine(folder, "models", Model));
        foreach (string file in Directory.EnumerateFiles(Path.Combine(shared, "models", "stories260K", "hf")))
        {
            File.Copy(file, Path.Combine(folder, "models", Model, Path.GetFileName(file)));
        }

        string database = Path.Combine(folder, "jobs.db");
        LastJob = Fill(database, jobs);
        string program = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "..", "..", "nibble"));
        process = Process.Start(new ProcessStartInfo(program,
        [
            "serve", "--models", Path.Combine(folder, "models"), "--data", Path.Combine(folder, "data"), "--outputs", Path.Combine(folder, "outputs"),
            "--files", Path.Combine(folder, "files"), "--database", database, "--queue", "1000000", "--urls", "http://127.0.0.1:0",
        ])
        { RedirectStandardError = true })!;
        string line = "";
        while (!line.StartsWith(Listening, StringComparison.Ordinal))
        {
            line = process.StandardError.ReadLine() ?? throw new InvalidOperationException($"{program} ended: {line}");
        }

        words = process.StandardError.ReadToEndAsync(); // Or it would wait for a reader.
        Client = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = int.MaxValue }) { BaseAddress = new Uri(line[Listening.Length..]), Timeout = Timeout.InfiniteTimeSpan };
    }

    /// <summary>For requests to it.</summary>
    public HttpClient Client { get; }

    /// <summary>The name of a job that is over.</summary>
    public string LastJob { get; }

    /// <summary>Bytes of its memory that are resident.</summary>
    public long ResidentBytes => 1024 * long.Parse(
        File.ReadLines($"/proc/{process.Id}/status").First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture);

    /// <summary>What it has computed.</summary>
    public TimeSpan ProcessorTime
    {
        get
        {
            process.Refresh();
            return process.TotalProcessorTime;
        }
    }

    /// <summary>The body that asks for a job.</summary>
    public static JsonObject Request(string output, int steps) => new()
    {
        ["model_name"] = Model,
        ["training_data_path"] = Data,
        ["output_dir"] = output,
        ["config"] = new JsonObject
        {
            ["dtype"] = "float32",
            ["data.max_length"] = 256,
            ["training.max_steps"] = steps,
            ["training.save_steps"] = 1000,
            ["training.logging_steps"] = 1,
            ["training.report_samples"] = 0,
        },
    };

    /// <summary>Creates a job.</summary>
    public async Task<string> CreateAsync(string output, int steps)
    {
        using HttpResponseMessage response = await Client.PostAsJsonAsync("/v1/jobs", Request(output, steps)).ConfigureAwait(false);
        response.EnsureSuccessStatusCode();
        return (await response.Content.ReadFromJsonAsync<JsonObject>().ConfigureAwait(false))!["job_id"]!.GetValue<string>();
    }

    /// <summary>Creates a job and waits until it trains.</summary>
    public async Task<string> TrainAsync(string output, int steps)
    {
        string id = await CreateAsync(output, steps).ConfigureAwait(false);
        while ((await Client.GetFromJsonAsync<JsonObject>($"/v1/jobs/{id}").ConfigureAwait(false))!["step"]!.GetValue<int>() == 0)
        {
            await Task.Delay(50).ConfigureAwait(false);
        }

        return id;
    }

    /// <summary>Ends the program, and with it its workers.</summary>
    public void Dispose()
    {
        Client.Dispose();
        process.Kill(entireProcessTree: true);
        words.Wait();
        process.WaitForExit();
        process.Dispose();
        Directory.Delete(folder, recursive: true);
    }

    private static string Fill(string path, int jobs)
    {
        using var database = StoreDatabase.At(path);
        database.Migrate();
        using JobDatabase tables = database.Open();
        string config = new('x', 2000); // About as long as a real one.
        Job[] rows = [.. Enumerable.Range(0, jobs).Select(i => new Job
        {
            Id = $"job-{Guid.CreateVersion7():N}",
            Status = i % 10 == 0 ? JobStatus.Failed : JobStatus.Completed,
            ModelName = Model,
            TrainingDataPath = Data,
            OutputDir = $"past-{i}",
            Folder = $"/outputs/past-{i}",
            Config = config,
            RequestHash = $"{i}",
            Attempts = 1,
            Step = 100,
            TotalSteps = 100,
            Metrics = """{"loss":1.2345678901234567,"learning_rate":0.0001,"gradient_norm":0.5,"tokens_per_second":12345.6,"epoch":2.5}""",
            Created = DateTimeOffset.UtcNow,
            Ended = DateTimeOffset.UtcNow,
        })];
        tables.Jobs.AddRange(rows);
        tables.SaveChanges();
        tables.Events.AddRange(rows.SelectMany(job => Enumerable.Range(0, EventsEach).Select(_ => new JobEvent
        {
            JobNumber = job.Number,
            Time = DateTimeOffset.UtcNow,
            Kind = "log",
            Data = """{"message":"something that its worker has said"}""",
        })));
        tables.SaveChanges();
        return rows[^1].Id;
    }
}
