namespace Nibble.Evaluation.Text;

/// <summary>Precision (of the prediction), recall (of the reference) and their harmonic mean.</summary>
internal readonly record struct RougeScore(double Precision, double Recall)
{
    public double FMeasure => Precision + Recall > 0 ? 2 * Precision * Recall / (Precision + Recall) : 0;

    /// <summary>n-grams that both have (Lin 2004).</summary>
    public static RougeScore NGram(List<string> reference, List<string> prediction, int order)
    {
        var grams = new NGrams<string>();
        int[] expected = grams.Of(reference, order);
        int[] found = grams.Of(prediction, order);
        return Of(NGrams.Matches(NGrams.Count(expected), NGrams.Count(found)), expected.Length, found.Length);
    }

    /// <summary>The longest common subsequence.</summary>
    public static RougeScore Subsequence(List<string> reference, List<string> prediction)
    {
        var grams = new NGrams<string>();
        int[] expected = grams.Of(reference, 1);
        int[] found = grams.Of(prediction, 1);
        return Of(new LongestCommonSubsequence(found).Length(expected), expected.Length, found.Length);
    }

    /// <summary>
    /// Line by line: what of a reference's line is in its longest common subsequence with any of the prediction's lines, each token
    /// as often at most as both texts have it.
    /// </summary>
    public static RougeScore Summary(IEnumerable<List<string>> reference, IEnumerable<List<string>> prediction)
    {
        var grams = new NGrams<string>();
        int[][] expected = [.. reference.Select(line => grams.Of(line, 1))];
        int[][] found = [.. prediction.Select(line => grams.Of(line, 1))];
        Dictionary<int, int> leftExpected = NGrams.Count([.. expected.SelectMany(line => line)]);
        Dictionary<int, int> leftFound = NGrams.Count([.. found.SelectMany(line => line)]);
        LongestCommonSubsequence[] others = [.. found.Select(line => new LongestCommonSubsequence(line))];
        int hits = 0;
        foreach (int[] line in expected)
        {
            foreach (int place in others.SelectMany(other => other.Places(line)).ToHashSet())
            {
                int token = line[place];
                if (leftExpected[token] > 0 && leftFound[token] > 0)
                {
                    leftExpected[token]--;
                    leftFound[token]--;
                    hits++;
                }
            }
        }

        return Of(hits, expected.Sum(line => line.Length), found.Sum(line => line.Length));
    }

    private static RougeScore Of(int hits, int expected, int found) => new((double)hits / Math.Max(1, found), (double)hits / Math.Max(1, expected));
}
