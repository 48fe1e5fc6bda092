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
internal sealed class RunFolder(RunConfig config, int processes)
{
    /// <summary>Keys that a resumed run may change: where the folder is, when it ends, and where it computes, what it reports and keeps.</summary>
    private static readonly HashSet<string> Free =
    [
        "output_dir", "device", "memory_limit", "training.num_train_epochs", "training.max_steps", "training.logging_steps", "training.eval_steps", "training.save_steps",
        "training.save_total_limit", "training.save_async", "training.early_stopping_patience", "training.offload_optimizer", "training.gradient_checkpointing",
        "training.eval_metrics", "training.eval_max_new_tokens", "training.eval_extract", "training.report_samples", "training.zero_stage", "training.ddp_timeout",
        "training.offload_parameters", "training.reduce_bucket_size", "training.prefetch_bucket_size", "training.param_persistence_threshold", "training.overlap_comm",
        "training.sync_each_batch",
    ];

    private static readonly string[] Written =
    [
        "README.md", "metrics.jsonl", "loss.png", "adapter_config.json", "adapter_model.safetensors", "config.json", "model.safetensors",
        "model.safetensors.index.json", FineTuner.TraceFile, PromptFormat.FileName, PromptFormat.TemplateFileName, RunSamples.FileName,
        RunReport.HtmlFile, RunReport.MarkdownFile,
    ];

    /// <summary>Whether a resumed run may change a key from one value to another.</summary>
    public static bool MayChange(string key, string? before, string after) => Free.Contains(key) || (key == "training.optim" && Unpaged(before) == Unpaged(after));

    private string RunPath => Path.Combine(config.OutputDir, RunManifest.FileName);

    /// <summary>Makes sure that the folder can be written and is free for this run, or is this run's own.</summary>
    /// <exception cref="InvalidDataException">It is not; the message says why.</exception>
    public void Require(bool resume)
    {
        try
        {
            DurableFolder.Create(config.OutputDir);
            File.Create(Path.Combine(config.OutputDir, $"{RunManifest.FileName}.tmp"), 1, FileOptions.DeleteOnClose).Dispose();
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

            RequireSameSteps();
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
            Manifest(DateTimeOffset.UtcNow, prompts).Save(config.OutputDir);
        }
        else if (ReadRun()["prompts"] is { } before)
        {
            RequireSame(before, prompts.ToJson(), "prompts");
        }
    }

    /// <summary>Writes what the run came to, and on which device.</summary>
    public void Complete(TrainingResult result, PromptFormat prompts, string device) => Manifest(ReadRun()["started"]?.GetValue<DateTimeOffset>() ?? DateTimeOffset.UtcNow, prompts)
        .Complete(
            new RunResults(result.Steps, result.TrainableParameters, result.TotalParameters, result.FinalLoss, result.FinalEvalLoss, PeakMemory.Bytes), device)
        .Save(config.OutputDir);

    private RunManifest Manifest(DateTimeOffset started, PromptFormat prompts) => new(started, Environment.CurrentDirectory, config) { Processes = processes, Prompts = prompts.ToJson() };

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

    /// <summary>A run may go on in more or fewer processes when as many micro-batches make a step.</summary>
    private void RequireSameSteps()
    {
        JsonObject run = ReadRun();
        int before = Number(run["processes"]) * Number(((run["config"] as JsonObject)?["training"] as JsonObject)?["gradient_accumulation_steps"]);
        int now = processes * config.Training.GradientAccumulationSteps;
        if (before != now)
        {
            string advice = before % processes == 0
                ? $"resume with training.gradient_accumulation_steps={before / processes}"
                : $"resume in a number of processes that divides {before}";
            throw new InvalidDataException(
                $"{config.OutputDir} holds a run with {before} micro-batches in a step, not {now} ({processes} x training.gradient_accumulation_steps {config.Training.GradientAccumulationSteps}); {advice}, or choose another output_dir.");
        }

        static int Number(JsonNode? node) => node is JsonValue value && value.TryGetValue(out int number) ? number : 1;
    }

    private void RequireSame(JsonNode? before, JsonNode? now, string path = "")
    {
        Dictionary<string, string> values = ConfigBinder.Settings(before, path).ToDictionary();
        foreach ((string key, string value) in ConfigBinder.Settings(now, path))
        {
            if (key != "training.gradient_accumulation_steps" && values.GetValueOrDefault(key) is var old && old != value && !MayChange(key, old?.Trim('"'), value.Trim('"')))
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

    /// <summary>What a killed process left half done.</summary>
    private void RemoveLeftovers()
    {
        CheckpointStore.Recover(config.OutputDir);
        foreach (string file in Directory.EnumerateFiles(config.OutputDir, "*.tmp"))
        {
            File.Delete(file);
        }
    }
}
