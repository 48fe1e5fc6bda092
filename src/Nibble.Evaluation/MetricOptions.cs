using Nibble.Evaluation.Answers;

namespace Nibble.Evaluation;

/// <summary>How metrics that are chosen by name measure; each reads what concerns it.</summary>
public sealed record MetricOptions
{
    /// <summary>Whether ROUGE counts words as equal that have the same stem.</summary>
    public bool UseStemmer { get; init; }

    /// <summary>What does not matter to <c>exact_match</c>.</summary>
    public AnswerNormalization Normalization { get; init; }

    /// <summary>A regular expression that finds the answer within a text, for <c>exact_match</c>, <c>f1</c> and <c>numeric</c>; null: all of it.</summary>
    public string? Extract { get; init; }

    /// <summary>How far a number may lie from the reference's, for <c>numeric</c>.</summary>
    public double Tolerance { get; init; }

    /// <summary>The JSON schema's file, which <c>json_schema</c> needs.</summary>
    public string? Schema { get; init; }
}
