using Nibble.Evaluation.Text;

namespace Nibble.Evaluation.Answers;

/// <summary>SQuAD's F1: the harmonic mean of precision and recall of the words that prediction and reference share, after SQuAD's normalisation.</summary>
/// <remarks>Reads prediction and references. Where a text has no words left, it agrees only with one that has none either.</remarks>
/// <param name="extraction">Finds the answer in prediction and reference; null: all of the text is the answer.</param>
public sealed class TokenF1Evaluator(AnswerExtraction? extraction = null) : AnswerEvaluator(extraction)
{
    /// <inheritdoc/>
    public override string Metric => "f1";

    private protected override double? Compare(string answer, string reference)
    {
        var words = new NGrams<string>();
        int[] found = words.Of(Words.Split(NormalizedAnswer.Of(answer, AnswerNormalization.Squad)), 1);
        int[] expected = words.Of(Words.Split(NormalizedAnswer.Of(reference, AnswerNormalization.Squad)), 1);
        return found.Length == 0 || expected.Length == 0
            ? found.Length == expected.Length ? 1 : 0
            : 2.0 * NGrams.Matches(NGrams.Count(found), NGrams.Count(expected)) / (found.Length + expected.Length);
    }
}
