using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace Nibble.Serving.Jobs;

/// <summary>What <c>POST /v1/fine_tuning/jobs</c> takes, as OpenAI's API names it.</summary>
internal sealed record FineTuningRequest
{
    /// <summary>A base model.</summary>
    [JsonRequired]
    public required string Model { get; init; }

    /// <summary>An uploaded file of examples.</summary>
    [JsonRequired]
    public required string TrainingFile { get; init; }

    /// <summary>An uploaded file that evaluates.</summary>
    public string? ValidationFile { get; init; }

    /// <summary>How it learns: only <c>supervised</c>.</summary>
    public MethodOf? Method { get; init; }

    /// <summary>What older clients send in place of <see cref="Method"/>.</summary>
    public HyperparametersOf? Hyperparameters { get; init; }

    /// <summary>Decides initial values, order and dropout.</summary>
    public long? Seed { get; init; }

    /// <summary>A part of the tuned model's name.</summary>
    public string? Suffix { get; init; }

    /// <summary>Whatever the client wants to find again.</summary>
    public Dictionary<string, string>? Metadata { get; init; }

    /// <summary>Accepted where it is empty.</summary>
    public JsonArray? Integrations { get; init; }

    /// <summary>The method's hyperparameters, wherever they are.</summary>
    [JsonIgnore]
    public HyperparametersOf Chosen => Method?.Supervised?.Hyperparameters ?? Hyperparameters ?? new HyperparametersOf();

    /// <summary>A method and what it takes.</summary>
    internal sealed record MethodOf
    {
        [JsonRequired]
        public required string Type { get; init; }

        public SupervisedOf? Supervised { get; init; }
    }

    /// <summary>Supervised fine-tuning.</summary>
    internal sealed record SupervisedOf
    {
        public HyperparametersOf? Hyperparameters { get; init; }
    }

    /// <summary>Numbers, or <c>auto</c>.</summary>
    internal sealed record HyperparametersOf
    {
        public JsonElement? NEpochs { get; init; }

        public JsonElement? BatchSize { get; init; }

        public JsonElement? LearningRateMultiplier { get; init; }
    }
}
