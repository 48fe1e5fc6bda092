using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Serving.Jobs;
using Nibble.Serving.Store;
using Nibble.Training.Configuration;

namespace Nibble.Serving.OpenAi;

/// <summary>A job as OpenAI's API shows it, however it was asked for.</summary>
internal sealed record FineTuningView
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>The job's name, as of <c>/v1/jobs</c>.</summary>
    public required string Id { get; init; }

    public string Object { get; } = "fine_tuning.job";

    public required string Model { get; init; }

    /// <summary>What to chat with; null until there is one.</summary>
    public string? FineTunedModel { get; init; }

    /// <summary>queued, running, paused, succeeded, failed or cancelled. Files are validated when they come, so no job is validating_files.</summary>
    public required string Status { get; init; }

    public required string TrainingFile { get; init; }

    public string? ValidationFile { get; init; }

    public required JsonObject Hyperparameters { get; init; }

    public required JsonObject Method { get; init; }

    public required ulong Seed { get; init; }

    public string? UserProvidedSuffix { get; init; }

    public Dictionary<string, string>? Metadata { get; init; }

    public required JsonObject? Error { get; init; }

    /// <summary>Tokens that it has read; null while it runs.</summary>
    public long? TrainedTokens { get; init; }

    /// <summary>The newest figures, which OpenAI gives in a file.</summary>
    public required JsonNode Metrics { get; init; }

    public required long CreatedAt { get; init; }

    public long? FinishedAt { get; init; }

    public long? EstimatedFinish { get; }

    public string OrganizationId { get; } = "";

    public IReadOnlyList<string> ResultFiles { get; } = [];

    public IReadOnlyList<string> Integrations { get; } = [];

    public static FineTuningView Of(Job job)
    {
        FineTuningRequest? asked = Asked(job);
        RunConfig config = ConfigBinder.FromJson<RunConfig>(job.Config)!;
        TrainingSection training = config.Training;
        var hyperparameters = new JsonObject
        {
            ["n_epochs"] = training.NumTrainEpochs,
            ["batch_size"] = training.PerDeviceTrainBatchSize * training.GradientAccumulationSteps,
            ["learning_rate_multiplier"] = training.LearningRate / FineTuningConfiguration.LearningRate,
        };
        JsonNode metrics = JsonNode.Parse(job.Metrics)!;
        return new FineTuningView
        {
            Id = job.Id,
            Model = job.ModelName,
            FineTunedModel = ModelCatalog.NameOf(job),
            Status = StatusOf(job.Status),
            TrainingFile = job.TrainingDataPath,
            ValidationFile = asked?.ValidationFile,
            Hyperparameters = hyperparameters,
            Method = new JsonObject { ["type"] = "supervised", ["supervised"] = new JsonObject { ["hyperparameters"] = hyperparameters.DeepClone() } },
            Seed = config.Seed,
            UserProvidedSuffix = asked?.Suffix,
            Metadata = asked?.Metadata,
            Error = job.Error is null ? null : new JsonObject { ["code"] = "job_failed", ["message"] = job.Error, ["param"] = null },
            TrainedTokens = job.IsOver ? metrics["tokens"]?.GetValue<long>() : null,
            Metrics = metrics,
            CreatedAt = job.Created.ToUnixTimeSeconds(),
            FinishedAt = job.Ended?.ToUnixTimeSeconds(),
        };
    }

    /// <summary>What the request was; null for one of <c>/v1/jobs</c>.</summary>
    public static FineTuningRequest? Asked(Job job) => job.Asked is null ? null : JsonSerializer.Deserialize<FineTuningRequest>(job.Asked, Json);

    public static string ToAsked(FineTuningRequest request) => JsonSerializer.Serialize(request, Json);

    public static string StatusOf(JobStatus status) => status switch
    {
        JobStatus.Pending => "queued",
        JobStatus.Completed => "succeeded",
        _ => ConfigBinder.KeyOf(status.ToString()),
    };
}
