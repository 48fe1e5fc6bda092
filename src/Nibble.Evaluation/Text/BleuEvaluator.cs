namespace Nibble.Evaluation.Text;

/// <summary>
/// BLEU (Papineni et al. 2002) from 0 to 100, equal to sacrebleu with its defaults: tokenizer 13a, up to 4-grams, exponential smoothing.
/// The score is the corpus's; each example's own uses only the orders that it is long enough for, as sacrebleu's sentence BLEU does.
/// </summary>
/// <remarks>
/// Reads prediction and references. Details: the precisions of each order in percent, the brevity penalty, and the tokens of predictions
/// and of the references nearest to them in length.
/// </remarks>
public sealed class BleuEvaluator : CorpusEvaluator
{
    private const int Orders = 4;

    /// <inheritdoc/>
    public override string Metric => "bleu";

    /// <summary>Length of prediction and nearest reference, then for each order the matches and how many there could be.</summary>
    private protected override double[] Count(string prediction, IReadOnlyList<string> references)
    {
        var grams = new NGrams<string>();
        string[] tokens = BleuTokens.Of(prediction);
        string[][] expected = [.. references.Select(BleuTokens.Of)];
        Dictionary<int, int>[] found = grams.Count(tokens, Orders);
        Dictionary<int, int>[][] counts = [.. expected.Select(reference => grams.Count(reference, Orders))];
        double[] row = new double[2 + (2 * Orders)];
        row[0] = tokens.Length;
        row[1] = expected.Select(reference => reference.Length).MinBy(length => (Math.Abs(length - tokens.Length), length));
        for (int n = 0; n < Orders; n++)
        {
            // An n-gram matches as often as the reference has it that has it most often.
            row[2 + (2 * n)] = found[n].Sum(gram => Math.Min(gram.Value, counts.Max(reference => reference[n].GetValueOrDefault(gram.Key))));
            row[3 + (2 * n)] = Math.Max(0, tokens.Length - n);
        }

        return row;
    }

    private protected override double Score(double[] totals) => Score(totals, Orders);

    private protected override double ExampleScore(double[] counts) => Score(counts, Enumerable.Range(0, Orders).Count(n => counts[3 + (2 * n)] > 0));

    private protected override IReadOnlyDictionary<string, double> Details(double[] totals)
    {
        double[] precisions = Precisions(totals);
        return new Dictionary<string, double>
        {
            ["precision1"] = precisions[0],
            ["precision2"] = precisions[1],
            ["precision3"] = precisions[2],
            ["precision4"] = precisions[3],
            ["brevity_penalty"] = BrevityPenalty(totals),
            ["prediction_tokens"] = totals[0],
            ["reference_tokens"] = totals[1],
        };
    }

    private static double Score(double[] totals, int orders)
    {
        double[] precisions = Precisions(totals)[..orders];
        return precisions.Contains(0) || totals[2] == 0 ? 0 : BrevityPenalty(totals) * Math.Exp(precisions.Sum(Math.Log) / orders);
    }

    private static double BrevityPenalty(double[] totals) =>
        totals[0] >= totals[1] ? 1 : totals[0] > 0 ? Math.Exp(1 - (totals[1] / totals[0])) : 0;

    /// <summary>In percent; each order without a match counts as half a match, a quarter, and so on (Chen and Cherry 2014, method 3).</summary>
    private static double[] Precisions(double[] totals)
    {
        double[] precisions = new double[Orders];
        double smoothing = 1;
        for (int n = 0; n < Orders && totals[3 + (2 * n)] > 0; n++)
        {
            (double matches, double possible) = (totals[2 + (2 * n)], totals[3 + (2 * n)]);
            smoothing *= matches == 0 ? 2 : 1;
            precisions[n] = 100 * (matches == 0 ? 1 / smoothing : matches) / possible;
        }

        return precisions;
    }
}
