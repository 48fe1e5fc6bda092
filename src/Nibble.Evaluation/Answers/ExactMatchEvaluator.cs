namespace Nibble.Evaluation.Answers;

/// <summary>The share of predictions that equal a reference, what does not matter aside.</summary>
/// <remarks>Reads prediction and references.</remarks>
/// <param name="normalization">What does not matter.</param>
/// <param name="extraction">Finds the answer in prediction and reference; null: all of the text is the answer.</param>
public sealed class ExactMatchEvaluator(AnswerNormalization normalization = AnswerNormalization.Trim, AnswerExtraction? extraction = null)
    : AnswerEvaluator(extraction)
{
    /// <inheritdoc/>
    public override string Metric => "exact_match";

    private protected override double? Compare(string answer, string reference) =>
        NormalizedAnswer.Of(answer, normalization) == NormalizedAnswer.Of(reference, normalization) ? 1 : 0;
}
