namespace Nibble.Evaluation;

/// <summary>One example with what evaluators read; each reads only some of it.</summary>
/// <param name="Prompt">What the model is given, as text.</param>
/// <param name="References">Accepted answers, the file's own first; empty where there is none.</param>
/// <param name="Prediction">What the model answered; null before it did.</param>
public sealed record EvaluationExample(string Prompt, IReadOnlyList<string> References, string? Prediction = null)
{
    /// <summary>Prompt and answer as tokens; null for metrics of text alone.</summary>
    public ScoredTokens? Tokens { get; init; }

    /// <summary>For multiple choice: prompt and answer for each choice; the answer's place is <see cref="Answer"/>.</summary>
    public IReadOnlyList<ScoredTokens> Choices { get; init; } = [];

    /// <summary>Which of the choices is right.</summary>
    public int? Answer { get; init; }
}

/// <summary>Tokens of which some are predicted.</summary>
/// <param name="InputIds">Tokens.</param>
/// <param name="Labels">Like the tokens, -100 where nothing is predicted; not shifted.</param>
/// <param name="Bytes">What is predicted, in bytes of UTF-8, special tokens aside.</param>
public sealed record ScoredTokens(int[] InputIds, int[] Labels, int Bytes);
