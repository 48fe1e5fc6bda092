namespace Nibble.Evaluation.Text;

/// <summary>
/// Translation edit rate (Snover et al. 2006) in percent, less being better, equal to sacrebleu with its defaults: words inserted, deleted,
/// replaced and runs of words moved, letter case aside, for each word of the reference.
/// </summary>
/// <remarks>
/// Reads prediction and references; of several references the nearest one's edits and all ones' mean length. Details: edits and words.
/// </remarks>
public sealed class TerEvaluator : CorpusEvaluator
{
    /// <inheritdoc/>
    public override string Metric => "ter";

    private protected override bool HigherIsBetter => false;

    /// <summary>Edits, and words of the reference.</summary>
    private protected override double[] Count(string prediction, IReadOnlyList<string> references)
    {
        var grams = new NGrams<string>();
        int[] found = Numbers(prediction);
        int[][] expected = [.. references.Select(Numbers)];
        return [expected.Min(reference => ShiftSearch.Edits(found, reference)), expected.Average(reference => reference.Length)];

        int[] Numbers(string text) => grams.Of(Words.Split(text.ToLowerInvariant()), 1);
    }

    private protected override double Score(double[] totals) => totals[1] > 0 ? 100 * totals[0] / totals[1] : totals[0] > 0 ? 100 : 0;

    private protected override IReadOnlyDictionary<string, double> Details(double[] totals) =>
        new Dictionary<string, double> { ["edits"] = totals[0], ["reference_words"] = totals[1] };
}
