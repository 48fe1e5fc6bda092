namespace Nibble.Evaluation;

/// <summary>What a metric came to.</summary>
/// <param name="Metric">Its name.</param>
/// <param name="Score">Over all scored examples, in the metric's own scale.</param>
/// <param name="Details">Further figures by name, such as precision and recall.</param>
public sealed record EvaluationResult(string Metric, double Score, IReadOnlyDictionary<string, double> Details)
{
    /// <summary>Each example's own value, in order; null where it could not be scored.</summary>
    public IReadOnlyList<double?> Values { get; init; } = [];

    /// <summary>Where the score lies with 95% confidence; null where that is not known.</summary>
    public ConfidenceInterval? Interval { get; init; }

    /// <summary>Whether more is better.</summary>
    public bool HigherIsBetter { get; init; } = true;
}

/// <summary>A range that holds a figure with some confidence.</summary>
public readonly record struct ConfidenceInterval(double Low, double High);
