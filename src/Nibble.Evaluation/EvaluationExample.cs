using Nibble.Modeling.Decoder;

namespace Nibble.Evaluation;

/// <summary>One example with what evaluators read; each reads only some of it.</summary>
/// <param name="Prompt">What the model is given, as text.</param>
/// <param name="References">Accepted answers, the file's own first; empty where there is none.</param>
/// <param name="Prediction">What the model answered; null before it did.</param>
public sealed record EvaluationExample(string Prompt, IReadOnlyList<string> References, string? Prediction = null)
{
    /// <summary>Prompt and answer as tokens, the answer labelled; null for metrics of text alone.</summary>
    public EncodedExample? Tokens { get; init; }

    /// <summary>For multiple choice: the prompt with each of the choices, which is labelled; else empty.</summary>
    public IReadOnlyList<EncodedExample> Choices { get; init; } = [];

    /// <summary>Which of the choices is right.</summary>
    public int Answer { get; init; }
}
