using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Kernels.Runtime;
using Nibble.Modeling.Checkpoints;
using Nibble.Training.Checkpointing;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;
using Nibble.Training.Reporting;

namespace Nibble.Training;

/// <summary>The output folder of a run. Its <c>run.json</c> says whose it is, so that no run writes over another or over anything else.</summary>
internal sealed class RunFolder(RunConfig config)
{
    private const string RunFile = "run.json";

    /// <summary>Keys that a resumed run may change: where the folder is, when it ends, and where it computes, what it reports and keeps.</summary>
    private static readonly HashSet<string> Free =
    [
        "output_dir", "device", "memory_limit", "training.num_train_epochs", "training.max_steps", "training.logging_steps", "training.eval_steps", "training.save_steps",
        "training.save_total_limit", "training.save_async", "training.early_stopping_patience", "training.offload_optimizer", "training.gradient_checkpointing", "training.eval_metrics", "training.eval_max_new_tokens", "training.eval_extract",
    ];

    private static readonly string[] Written =
    [
        "README.md", "metrics.jsonl", "loss.png", "adapter_config.json", "adapter_model.safetensors", "config.json", "model.safetensors",
        "model.safetensors.index.json", FineTuner.TraceFile, PromptFormat.FileName, PromptFormat.TemplateFileName,
    ];

    /// <summary>Whether a resumed run may change a key from one value to another.</summary>
    public static bool MayChange(string key, string? before, string after) => Free.Contains(key) || (key == "training.optim" && Unpaged(before) == Unpaged(after));

    private string RunPath => Path.Combine(config.OutputDir, RunFile);

    /// <summary>Makes sure that the folder can be written and is free for this run, or is this run's own.</summary>
    /// <exception cref="InvalidDataException">It is not; the message says why.</exception>
    public void Require(bool resume)
    {
        try
        {
            DurableFolder.Create(config.OutputDir);
            File.Create(Path.Combine(config.OutputDir, $"{RunFile}.tmp"), 1, FileOptions.DeleteOnClose).Dispose();
        }
        catch (Exception exception) when (exception is UnauthorizedAccessException or IOException)
        {
            throw new InvalidDataException($"output_dir {config.OutputDir} is not writable: {exception.Message}", exception);
        }

        if (File.Exists(RunPath))
        {
            if (!resume)
            {
                throw new InvalidDataException($"{config.OutputDir} holds another run; resume it with --resume, or choose another output_dir.");
            }

            RequireSame(ReadRun()["config"], JsonNode.Parse(ConfigBinder.ToJson(config)));
            RemoveLeftovers();
        }
        else if (Written.Concat(Copied()).FirstOrDefault(name => File.Exists(Path.Combine(config.OutputDir, name))) is { } foreign)
        {
            throw new InvalidDataException($"{config.OutputDir} holds {foreign}, which is of no run and would be overwritten; choose another output_dir.");
        }
    }

    /// <summary>Claims the folder, when everything that the run needs has been found good.</summary>
    /// <exception cref="InvalidDataException">The run began with other prompts: a template or the data were changed since.</exception>
    public void Begin(PromptFormat prompts)
    {
        if (!File.Exists(RunPath))
        {
            Write(new { status = "running", config, prompts = prompts.ToJson() });
        }
        else if (ReadRun()["prompts"] is { } before)
        {
            RequireSame(before, prompts.ToJson(), "prompts");
        }
    }

    /// <summary>Writes what the run came to, and on which device.</summary>
    public void Complete(TrainingResult result, PromptFormat prompts, string device) => Write(new
    {
        status = "completed",
        engine_version = typeof(RunFolder).Assembly.GetName().Version?.ToString(3),
        torchsharp_version = typeof(TorchSharp.torch).Assembly.GetName().Version?.ToString(3),
        runtime = Environment.Version.ToString(),
        device,
        instruction_set = Kernels.Cpu.Current.ToString(),
        threads = Kernels.Cpu.Threads,
        config,
        prompts = prompts.ToJson(),
        hashes = Hashes(),
        results = new
        {
            result.Steps,
            result.TrainableParameters,
            result.TotalParameters,
            result.FinalLoss,
            result.FinalEvalLoss,
            peak_memory_bytes = PeakMemory.Bytes,
        },
    });

    private void Write<T>(T run) => AtomicFile.WriteText(RunPath, ConfigBinder.ToJson(run));

    private JsonObject ReadRun()
    {
        try
        {
            return JsonNode.Parse(File.ReadAllText(RunPath)) as JsonObject ?? throw new JsonException("it is no JSON object");
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{RunPath} is damaged ({exception.Message}); choose another output_dir.", exception);
        }
    }

    private void RequireSame(JsonNode? before, JsonNode? now, string path = "")
    {
        Dictionary<string, string> values = Values(before, path).ToDictionary();
        foreach ((string key, string value) in Values(now, path))
        {
            if (values.GetValueOrDefault(key) is var old && old != value && !MayChange(key, old?.Trim('"'), value.Trim('"')))
            {
                throw new InvalidDataException(
                    $"{config.OutputDir} holds a run with {key} {old ?? "missing"}, not {value}; resume with the configuration that it began with, or choose another output_dir.");
            }
        }
    }

    /// <summary>The files that come from the base model's folder; whether that exists is for others to say.</summary>
    private IEnumerable<string> Copied() => Directory.Exists(config.Model) ? ModelWriter.CompanionsOf(config.Model) : [];

    /// <summary>An optimizer without where its states live, which changes no result.</summary>
    private static string? Unpaged(string? optimizer) => optimizer switch
    {
        "paged_adamw_8bit" => "adamw_8bit",
        "paged_adamw_32bit" => "adamw_torch",
        _ => optimizer,
    };

    /// <summary>Keys with their sections, and values as JSON.</summary>
    private static IEnumerable<KeyValuePair<string, string>> Values(JsonNode? node, string path = "") => node is JsonObject section
        ? section.SelectMany(item => Values(item.Value, path.Length == 0 ? item.Key : $"{path}.{item.Key}"))
        : [KeyValuePair.Create(path, node?.ToJsonString() ?? "null")];

    /// <summary>What a killed process left half done.</summary>
    private void RemoveLeftovers()
    {
        CheckpointStore.Recover(config.OutputDir);
        foreach (string file in Directory.EnumerateFiles(config.OutputDir, "*.tmp"))
        {
            File.Delete(file);
        }
        CheckpointStore.Recover(config.OutputDir);
    }

    /// <summary>SHA-256 of the base model's weights and of the data.</summary>
    private JsonObject Hashes()
    {
        var hashes = new JsonObject();
        using (CheckpointTensors checkpoint = CheckpointTensors.Open(config.Model))
        {
            foreach (string file in checkpoint.Files)
            {
                hashes[Path.GetFileName(file)] = HashOf(file);
            }
        }

        hashes["train"] = HashOf(config.Data.Train);
        if (config.Data.Eval is { } eval)
        {
            hashes["eval"] = HashOf(eval);
        }

        return hashes;
    }

    private static string HashOf(string path)
    {
        using FileStream stream = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }
}
