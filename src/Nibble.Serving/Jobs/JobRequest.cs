using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace Nibble.Serving.Jobs;

/// <summary>What <c>POST /v1/jobs</c> takes. Paths are relative to the service's folders.</summary>
internal sealed record JobRequest
{
    /// <summary>The base model's folder.</summary>
    [JsonRequired]
    public required string ModelName { get; init; }

    /// <summary>The file of examples.</summary>
    [JsonRequired]
    public required string TrainingDataPath { get; init; }

    /// <summary>The folder to write; must not hold another run.</summary>
    [JsonRequired]
    public required string OutputDir { get; init; }

    /// <summary>Whether an adapter learns; false: all weights. By default true.</summary>
    public bool? UseLora { get; init; }

    /// <summary>The adapter's rank, by default 8.</summary>
    public int? LoraR { get; init; }

    /// <summary>Passes over the data, by default 3.</summary>
    public double? NumEpochs { get; init; }

    /// <summary>Sequences in a micro-batch, by default 4.</summary>
    public int? BatchSize { get; init; }

    /// <summary>Highest learning rate, by default 2e-4.</summary>
    public double? LearningRate { get; init; }

    /// <summary>Any other key of a run's configuration, in sections or with dots. What the request itself names wins.</summary>
    public JsonObject? Config { get; init; }
}
