using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Nibble.Kernels;
using Nibble.Modeling.Checkpoints;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Training.Reporting;

/// <summary><c>run.json</c>: what a run was told to do, with what, and what came of it.</summary>
/// <param name="Started">When its first process began.</param>
/// <param name="Directory">Where relative paths of the configuration begin.</param>
/// <param name="Config">The whole configuration.</param>
public sealed record RunManifest(DateTimeOffset Started, string Directory, RunConfig Config)
{
    /// <summary>The file's name in the run's folder.</summary>
    public const string FileName = "run.json";

    private const string Completed = "completed";

    /// <summary><c>running</c>, which it stays when the process is interrupted, or <c>completed</c>.</summary>
    [JsonPropertyOrder(-1)]
    public string Status { get; init; } = "running";

    /// <summary>Whether the run came to its end.</summary>
    [JsonIgnore]
    public bool IsComplete => Status == Completed;

    /// <summary>When it came to its end.</summary>
    public DateTimeOffset? Ended { get; init; }

    /// <summary>In how many processes; a step has so many times the micro-batches that the configuration says.</summary>
    public int Processes { get; init; } = 1;

    /// <summary>How its records became prompts.</summary>
    public JsonNode? Prompts { get; init; }

    /// <summary>On what it ran; null before its end.</summary>
    public RunEnvironment? Environment { get; init; }

    /// <summary>What it read and wrote; null before its end.</summary>
    public RunHashes? Hashes { get; init; }

    /// <summary>What it came to; null before its end.</summary>
    public RunResults? Results { get; init; }

    /// <summary>Reads the manifest of a run's folder.</summary>
    /// <exception cref="InvalidDataException">The folder holds no run, or its manifest is damaged.</exception>
    public static RunManifest Load(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
        {
            throw new InvalidDataException($"{folder} holds no run: {path} does not exist.");
        }

        try
        {
            RunManifest? manifest = ConfigBinder.FromJson<RunManifest>(File.ReadAllText(path));
            return manifest is { Directory: not null, Config: { Data: not null, Lora: not null, Quantization: not null, Training: not null } }
                && (!manifest.IsComplete || manifest is { Hashes: { Model: not null, Inputs: not null, Weights: not null }, Results: not null, Environment: not null })
                ? manifest
                : throw new InvalidDataException($"{path} is damaged: it lacks the configuration, or what a completed run came to.");
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{path} is damaged: {exception.Message}", exception);
        }
    }

    /// <summary>The configuration with all paths absolute, so that it means the same everywhere.</summary>
    public RunConfig Located()
    {
        string At(string path) => Path.GetFullPath(path, Directory);
        return Config with
        {
            Model = At(Config.Model),
            OutputDir = At(Config.OutputDir),
            Data = Config.Data with
            {
                Train = At(Config.Data.Train),
                Eval = Config.Data.Eval is { } eval ? At(eval) : null,
                ChatTemplate = Config.Data.ChatTemplate is { } template and not NamedTemplate.Roles ? At(template) : Config.Data.ChatTemplate,
            },
            Lora = Config.Lora with { InitAdapter = Config.Lora.InitAdapter is { } initial ? At(initial) : null },
        };
    }

    /// <summary>The manifest of the same run at its end.</summary>
    internal RunManifest Complete(RunResults results, string device) => this with
    {
        Status = Completed,
        Ended = DateTimeOffset.UtcNow,
        Environment = RunEnvironment.Of(device),
        Hashes = RunHashes.Of(Config),
        Results = results,
    };

    internal void Save(string folder) => AtomicFile.WriteText(Path.Combine(folder, FileName), ConfigBinder.ToJson(this));
}

/// <summary>On what a run ran: what its figures may depend on.</summary>
/// <param name="EngineVersion">Of this engine.</param>
/// <param name="TorchsharpVersion">Of libtorch's binding.</param>
/// <param name="Runtime">.NET's version.</param>
/// <param name="Device">cpu, or cuda:N.</param>
/// <param name="InstructionSet">Of the CPU kernels.</param>
/// <param name="Threads">Of the CPU kernels.</param>
public sealed record RunEnvironment(string? EngineVersion, string? TorchsharpVersion, string Runtime, string Device, string InstructionSet, int Threads)
{
    /// <summary>That of this process.</summary>
    public static RunEnvironment Of(string device) => new(
        typeof(RunEnvironment).Assembly.GetName().Version?.ToString(3),
        typeof(TorchSharp.torch).Assembly.GetName().Version?.ToString(3),
        System.Environment.Version.ToString(),
        device,
        Cpu.Current.ToString(),
        Cpu.Threads);
}

/// <summary>What a run came to.</summary>
/// <param name="Steps">Optimizer steps done.</param>
/// <param name="TrainableParameters">Elements that learned.</param>
/// <param name="TotalParameters">Elements of model and adapter.</param>
/// <param name="FinalLoss">The last training loss.</param>
/// <param name="FinalEvalLoss">The last evaluation loss; null when nothing was evaluated.</param>
/// <param name="PeakMemoryBytes">Largest resident memory of the process.</param>
public sealed record RunResults(int Steps, long TrainableParameters, long TotalParameters, double? FinalLoss, double? FinalEvalLoss, long PeakMemoryBytes);
