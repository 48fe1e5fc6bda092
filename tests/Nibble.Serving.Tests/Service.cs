using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using Nibble.Serving.Keys;
using Nibble.Tests;

namespace Nibble.Serving.Tests;

/// <summary>The real program on a free port, over folders of its own; a model, examples, and what workers it started.</summary>
internal sealed class Service : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(90);

    private readonly TempFolder folder;
    private readonly bool isGuest;
    private readonly List<int> workers = [];
    private Process? process;
    private Task<string>? words;

    private Service(TempFolder folder, bool isGuest) => (this.folder, this.isGuest) = (folder, isGuest);

    private Service()
        : this(new TempFolder(), isGuest: false)
    {
        foreach (string name in (string[])["models", "data", "outputs"])
        {
            Directory.CreateDirectory(folder[name]);
        }

        Copy(SharedFolder.Path("models", "stories260K", "hf"), folder["models/stories"]);
        File.Copy(SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), folder["data/train.jsonl"]);
    }

    public HttpClient Client { get; private set; } = new();

    public string this[string path] => folder[path];

    /// <summary>Variables that the program gets besides those of the tests.</summary>
    public Dictionary<string, string> Variables { get; } = [];

    /// <summary>One that is yet to be started.</summary>
    public static Service New() => new();

    public static async Task<Service> StartAsync(params string[] options)
    {
        var service = new Service();
        await service.StartAgainAsync(options);
        return service;
    }

    /// <summary>Another program over the same folders, which goes before this one.</summary>
    public async Task<Service> JoinAsync(params string[] options)
    {
        var guest = new Service(folder, isGuest: true);
        await guest.StartAgainAsync(options);
        return guest;
    }

    /// <summary>Starts the program over what an earlier one left.</summary>
    public async Task StartAgainAsync(params string[] options)
    {
        process = Process.Start(Command(options))!;
        string address = "";
        while (!address.StartsWith("listening on ", StringComparison.Ordinal))
        {
            address = await process.StandardError.ReadLineAsync() ?? throw new InvalidOperationException($"The service ended: {address}");
        }

        words = process.StandardError.ReadToEndAsync(); // Or it would wait for a reader.
        Client.Dispose();
        Client = new HttpClient { BaseAddress = new Uri(address["listening on ".Length..]), Timeout = Patience };
    }

    /// <summary>Makes a key for the service, whether it runs or not.</summary>
    public async Task<(string Id, string Text)> KeyAsync(KeyScope scope, int? rate = null, int? concurrency = null)
    {
        using var keys = new KeyRing(folder["home/jobs.db"]);
        (ApiKey key, string text) = await keys.CreateAsync($"{scope}", scope, rate, concurrency);
        return (key.Id, text);
    }

    /// <summary>What the program answers as another command.</summary>
    public async Task<(int Code, string Output, string Error)> RunAsync(params string[] arguments)
    {
        ProcessStartInfo start = Command([]);
        start.ArgumentList.Clear();
        Array.ForEach(arguments, start.ArgumentList.Add);
        start.RedirectStandardOutput = true;
        using Process other = Process.Start(start)!;
        Task<string> error = other.StandardError.ReadToEndAsync();
        string output = await other.StandardOutput.ReadToEndAsync();
        await other.WaitForExitAsync();
        return (other.ExitCode, output.Trim(), (await error).Trim());
    }

    /// <summary>The exit code and the last words of a program that does not begin to serve.</summary>
    public async Task<(int Code, string Error)> RefuseAsync(params string[] options)
    {
        using Process refused = Process.Start(Command(options))!;
        string error = await refused.StandardError.ReadToEndAsync();
        await refused.WaitForExitAsync();
        return (refused.ExitCode, error.Trim());
    }

    /// <summary>A job of a few steps, with more fields or others.</summary>
    public static JsonObject Request(string output, int steps = 6, JsonObject? config = null)
    {
        config ??= [];
        foreach ((string key, JsonNode value) in new (string, JsonNode)[]
        {
            ("dtype", "float32"), ("data.max_length", 256), ("training.max_steps", steps), ("training.save_steps", 2), ("training.logging_steps", 1),
            ("training.gradient_accumulation_steps", 1), ("training.report_samples", 0),
        })
        {
            config.TryAdd(key, value);
        }

        return new JsonObject { ["model_name"] = "stories", ["training_data_path"] = "train.jsonl", ["output_dir"] = output, ["config"] = config };
    }

    public async Task<string> CreateAsync(JsonObject request)
    {
        using HttpResponseMessage response = await Client.PostAsJsonAsync("/v1/jobs", request);
        JsonObject job = await BodyAsync(response);
        Assert.True((int)response.StatusCode == 201, job.ToJsonString());
        return job["job_id"]!.GetValue<string>();
    }

    public Task<JsonObject> ReadAsync(string id) => GetAsync($"/v1/jobs/{id}");

    public async Task<JsonObject> GetAsync(string path)
    {
        using HttpResponseMessage response = await Client.GetAsync(path);
        return await BodyAsync(response);
    }

    public static async Task<JsonObject> BodyAsync(HttpResponseMessage response) => JsonNode.Parse(await response.Content.ReadAsStringAsync())!.AsObject();

    /// <summary>Waits for a job to be what is asked for.</summary>
    public async Task<JsonObject> UntilAsync(string id, Func<JsonObject, bool> condition)
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            JsonObject job = await ReadAsync(id);
            if (condition(job))
            {
                return job;
            }

            if (clock.Elapsed > Patience || job["ended_at"] is not null)
            {
                await KillAsync();
                Assert.Fail($"not what was waited for: {job.ToJsonString()}\n{await words!}");
            }

            await Task.Delay(50);
        }
    }

    public Task<JsonObject> UntilAsync(string id, string status) => UntilAsync(id, job => job["status"]!.GetValue<string>() == status);

    /// <summary>Listens to a job's events until one has this text.</summary>
    /// <returns>What was heard, and the stream, for more.</returns>
    public static async Task<(string Heard, StreamReader More)> ListenForAsync(HttpClient client, string id, string text)
    {
        var reader = new StreamReader(await client.GetStreamAsync($"/v1/jobs/{id}/events"));
        var heard = new StringBuilder();
        while (await reader.ReadLineAsync().WaitAsync(Patience) is { } line)
        {
            heard.AppendLine(line);
            if (line.Contains(text, StringComparison.Ordinal))
            {
                return (heard.ToString(), reader);
            }
        }

        throw new InvalidOperationException($"The events end without '{text}':\n{heard}");
    }

    /// <summary>Waits for a checkpoint from which the job could go on.</summary>
    public Task<JsonObject> UntilSavedAsync(string id, string output) => UntilAsync(
        id, _ => Directory.Exists(folder[$"outputs/{output}"]) && Directory.EnumerateDirectories(folder[$"outputs/{output}"], "checkpoint-*").Any());

    public Task<JsonObject> UntilStepAsync(string id, int step) => UntilAsync(id, job => job["step"]!.GetValue<int>() >= step);

    public byte[] Weights(string output) => File.ReadAllBytes(folder[$"outputs/{output}/adapter_model.safetensors"]);

    /// <summary>The losses that a run logged.</summary>
    public IReadOnlyList<double> Losses(string output) =>
        [.. File.ReadLines(folder[$"outputs/{output}/metrics.jsonl"]).Select(line => JsonNode.Parse(line)!["loss"]?.GetValue<double>()).OfType<double>()];

    /// <summary>The worker that the service has; none is started but by it.</summary>
    public async Task<int> WorkerAsync()
    {
        for (int i = 0; i < 500; i++)
        {
            if (Children() is [int worker, ..])
            {
                workers.Add(worker);
                return worker;
            }

            await Task.Delay(10);
        }

        throw new InvalidOperationException("The service has no worker.");
    }

    /// <summary>The one of two services that gets a worker.</summary>
    public static async Task<Service> WithWorkerAsync(Service first, Service second)
    {
        for (int i = 0; i < 500; i++)
        {
            if (first.HasWorker || second.HasWorker)
            {
                return first.HasWorker ? first : second;
            }

            await Task.Delay(10);
        }

        throw new InvalidOperationException("Neither service has a worker.");
    }

    /// <summary>The workers that the service has.</summary>
    public IReadOnlyList<int> Workers => Children();

    /// <summary>The processes that chat.</summary>
    public IReadOnlyList<int> ChatWorkers => Children("chat-worker");

    public bool HasWorker => Children().Count > 0;

    /// <summary>Waits until no worker is left, with little rest.</summary>
    public async Task UntilNoWorkerAsync()
    {
        for (int i = 0; i < 1000 && HasWorker; i++)
        {
            await Task.Delay(5);
        }

        Assert.False(HasWorker);
    }

    /// <summary>What the service itself has computed so far.</summary>
    public TimeSpan ProcessorTime
    {
        get
        {
            process!.Refresh();
            return process.TotalProcessorTime;
        }
    }

    public static void Kill(int worker) => Send("-KILL", worker);

    public static void Pause(int worker) => Send("-STOP", worker);

    public static void GoOn(int worker) => Send("-CONT", worker);

    /// <summary>The program itself.</summary>
    public int Id => process!.Id;

    /// <summary>Waits until a worker is gone.</summary>
    public static async Task UntilGoneAsync(int worker)
    {
        for (int i = 0; i < 1000 && IsWorker(worker); i++)
        {
            await Task.Delay(10);
        }

        Assert.False(IsWorker(worker));
    }

    /// <summary>What a status event gave as its reason, for each of the job's changes.</summary>
    public async Task<IReadOnlyList<(string Status, string Reason)>> ChangesAsync(string id) =>
    [
        .. (await EventsAsync(id)).Where(item => item.Kind == "status").Select(item => (item.Data["status"]!.GetValue<string>(), item.Data["reason"]!.GetValue<string>())),
    ];

    /// <summary>All that happened to a job, when it is over.</summary>
    public async Task<IReadOnlyList<(string Kind, JsonNode Data)>> EventsAsync(string id)
    {
        const string Kind = "event: ";
        using HttpResponseMessage response = await Client.GetAsync($"/v1/jobs/{id}/events"); // Ends with the job.
        string[] lines = (await response.Content.ReadAsStringAsync()).Split('\n');
        return
        [
            .. lines.Zip(lines.Skip(1)).Where(pair => pair.First.StartsWith(Kind, StringComparison.Ordinal))
                .Select(pair => (pair.First[Kind.Length..], JsonNode.Parse(pair.Second["data: ".Length..])!)),
        ];
    }

    public async Task<JsonObject> PostAsync(string path, int expected = 200)
    {
        using HttpResponseMessage response = await Client.PostAsync(path, null);
        JsonObject body = await BodyAsync(response);
        Assert.True((int)response.StatusCode == expected, body.ToJsonString());
        return body;
    }

    /// <summary>All that the service, once ended, has said.</summary>
    public Task<string> WordsAsync() => words!;

    public async Task KillAsync()
    {
        Kill(process!.Id);
        await process.WaitForExitAsync();
    }

    /// <summary>Asks the service to end; its exit code.</summary>
    public async Task<int> TerminateAsync()
    {
        Send("-TERM", process!.Id);
        await process.WaitForExitAsync();
        return process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        if (process is { HasExited: false })
        {
            workers.AddRange(Children());
            GoOn(process.Id); // A test that failed may have paused it.
            await TerminateAsync();
        }

        process?.Dispose();
        foreach (int worker in workers)
        {
            for (int i = 0; i < 500 && IsWorker(worker); i++)
            {
                await Task.Delay(20); // It still writes into the folder.
            }
        }

        if (!isGuest)
        {
            folder.Dispose();
        }
    }

    private static bool IsWorker(int id, string command = "worker") => Read($"/proc/{id}/cmdline").Split('\0', StringSplitOptions.RemoveEmptyEntries).LastOrDefault() == command;

    /// <summary>Nothing of a process or thread that has ended.</summary>
    private static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (IOException)
        {
            return "";
        }
    }

    /// <summary>Children of every thread of the service.</summary>
    private List<int> Children(string command = "worker") =>
    [
        .. Directory.EnumerateDirectories($"/proc/{process!.Id}/task").SelectMany(thread => Read($"{thread}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Select(id => int.Parse(id, CultureInfo.InvariantCulture)).Where(id => IsWorker(id, command)),
    ];

    /// <summary>Whether there was such a process.</summary>
    public static bool Send(string signal, int id)
    {
        using Process kill = Process.Start(new ProcessStartInfo("kill", [signal, id.ToString(CultureInfo.InvariantCulture)]) { RedirectStandardError = true })!;
        kill.WaitForExit();
        return kill.ExitCode == 0;
    }

    private ProcessStartInfo Command(string[] options)
    {
        ProcessStartInfo start = Program(options);
        foreach ((string name, string value) in Variables)
        {
            start.Environment[name] = value;
        }

        return start;
    }

    private ProcessStartInfo Program(string[] options) => new(
        TestedProgram.Path,
        [
            "serve", "--models", folder["models"], "--data", folder["data"], "--outputs", folder["outputs"],
            .. options.Contains("--urls") ? Array.Empty<string>() : ["--urls", "http://127.0.0.1:0"], .. options,
        ])
    {
        RedirectStandardError = true,
        Environment = { ["NIBBLE_HOME"] = folder["home"], ["NIBBLE_CUDA_DRIVER"] = "/nonexistent/libcuda.so", ["PGPASSWORD"] = Secret, ["OPENAI_API_KEY"] = Secret },
    };

    /// <summary>What variables of the service hold that nobody else is to see.</summary>
    public const string Secret = "a secret of the service";

    private static void Copy(string source, string target)
    {
        Directory.CreateDirectory(target);
        foreach (string file in Directory.EnumerateFiles(source))
        {
            File.WriteAllBytes(Path.Combine(target, Path.GetFileName(file)), File.ReadAllBytes(file));
        }
    }
}
