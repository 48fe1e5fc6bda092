namespace Nibble.Cli.Registry;

/// <summary>A run, as the registry knows it.</summary>
/// <param name="Id">Its number; numbers rise and are not used again.</param>
/// <param name="Folder">Where its results went.</param>
/// <param name="Status">running, completed, failed, interrupted, or died when its process ended without a word.</param>
/// <param name="Started">When it began.</param>
/// <param name="Ended">When it ended; null before.</param>
/// <param name="EngineVersion">Of the engine that ran it.</param>
/// <param name="Method">lora, qlora or full.</param>
/// <param name="Base">The base model's folder.</param>
/// <param name="BaseHash">SHA-256 of its weights; null before the run's end, like the other hashes.</param>
/// <param name="Data">The file of training examples.</param>
/// <param name="DataHash">Its SHA-256.</param>
/// <param name="AdapterHash">SHA-256 of the weights that the run wrote: the adapter's version.</param>
/// <param name="Steps">Optimizer steps done.</param>
/// <param name="Loss">The last training loss that was logged.</param>
/// <param name="EvalLoss">The last evaluation loss.</param>
internal sealed record RunEntry(
    long Id, string Folder, string Status, DateTimeOffset Started, DateTimeOffset? Ended, string? EngineVersion, string Method, string Base, string? BaseHash, string Data,
    string? DataHash, string? AdapterHash, long? Steps, double? Loss, double? EvalLoss)
{
    /// <summary>What was measured of its weights, wherever they lay.</summary>
    public IReadOnlyList<MetricEntry> Metrics { get; init; } = [];
}

/// <summary>What was measured of weights.</summary>
/// <param name="Metric">Its name.</param>
/// <param name="Score">What it came to.</param>
/// <param name="Low">Where the score begins to lie with 95% confidence; null where that is not known.</param>
/// <param name="High">Where it ends to.</param>
/// <param name="Data">The file that it was measured on.</param>
/// <param name="DataHash">Its SHA-256.</param>
/// <param name="Examples">How many of the file's examples.</param>
internal sealed record MetricEntry(string Metric, double? Score, double? Low, double? High, string Data, string DataHash, long Examples);
