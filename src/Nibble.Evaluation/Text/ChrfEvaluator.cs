using System.Text;

namespace Nibble.Evaluation.Text;

/// <summary>
/// chrF (Popović 2015) from 0 to 100, equal to sacrebleu with its defaults: the F measure, recall weighing twice as much, of n-grams of up to six
/// characters, white space aside; chrF++ (Popović 2017) also of one and two words. The score is the corpus's, each example's own besides.
/// </summary>
/// <remarks>Reads prediction and references; of several references the one with the best score. Details: precision and recall in percent.</remarks>
public sealed class ChrfEvaluator : CorpusEvaluator
{
    private const int CharacterOrders = 6;
    private const double Recall = 2; // Beta.

    private readonly int wordOrders;

    /// <summary>chrF or chrF++.</summary>
    /// <param name="words">Whether words count as well: chrF++.</param>
    public ChrfEvaluator(bool words = false) => wordOrders = words ? 2 : 0;

    /// <inheritdoc/>
    public override string Metric => wordOrders > 0 ? "chrf++" : "chrf";

    /// <summary>For each order the n-grams of the prediction, those of the reference, and the matches.</summary>
    private protected override double[] Count(string prediction, IReadOnlyList<string> references)
    {
        var characters = new NGrams<Rune>();
        var words = new NGrams<string>();
        Dictionary<int, int>[] found = Grams(prediction);
        return references.Select(reference => Row(found, Grams(reference))).MaxBy(Score)!;

        Dictionary<int, int>[] Grams(string text)
        {
            string[] split = Words.Split(text);
            return
            [
                .. characters.Count([.. string.Concat(split).EnumerateRunes()], CharacterOrders),
                .. words.Count([.. split.SelectMany(Apart)], wordOrders),
            ];
        }
    }

    private protected override double Score(double[] totals)
    {
        (double precision, double recall) = Means(totals);
        double weighted = (Recall * Recall * precision) + recall;
        return weighted == 0 ? 0 : 100 * (1 + (Recall * Recall)) * precision * recall / weighted;
    }

    private protected override IReadOnlyDictionary<string, double> Details(double[] totals)
    {
        (double precision, double recall) = Means(totals);
        return new Dictionary<string, double> { ["precision"] = 100 * precision, ["recall"] = 100 * recall };
    }

    private static double[] Row(Dictionary<int, int>[] found, Dictionary<int, int>[] expected)
    {
        double[] row = new double[3 * found.Length];
        for (int n = 0; n < found.Length; n++)
        {
            // Where the reference is too short for an order, that order does not count.
            row[3 * n] = expected[n].Count == 0 ? 0 : found[n].Values.Sum();
            row[(3 * n) + 1] = expected[n].Values.Sum();
            row[(3 * n) + 2] = NGrams.Matches(found[n], expected[n]);
        }

        return row;
    }

    /// <summary>Over the orders that both texts are long enough for.</summary>
    private static (double Precision, double Recall) Means(double[] totals)
    {
        int orders = 0;
        double precision = 0;
        double recall = 0;
        for (int n = 0; n < totals.Length; n += 3)
        {
            if (totals[n] > 0 && totals[n + 1] > 0)
            {
                orders++;
                precision += totals[n + 2] / totals[n];
                recall += totals[n + 2] / totals[n + 1];
            }
        }

        return orders == 0 ? (0, 0) : (precision / orders, recall / orders);
    }

    /// <summary>A word without the punctuation mark at its end, or else at its beginning, which is a word of its own.</summary>
    private static IEnumerable<string> Apart(string word) =>
        word.Length > 1 && IsMark(word[^1]) ? [word[..^1], word[^1..]]
        : word.Length > 1 && IsMark(word[0]) ? [word[..1], word[1..]]
        : [word];

    private static bool IsMark(char character) => char.IsAscii(character) && !char.IsAsciiLetterOrDigit(character) && !char.IsControl(character);
}
