namespace Nibble.Evaluation.Statistics;

/// <summary>Two results of one metric over the same examples: how far the second is from the first, and whether that can be chance.</summary>
/// <param name="Difference">The mean over the examples of the second's value less the first's; of corpus metrics such as BLEU that of the examples' own scores.</param>
/// <param name="Interval">Where the difference lies with 95% confidence; null for fewer than two examples.</param>
/// <param name="PValue">
/// How often a mean difference as large comes about where each example's sign is left to chance: the paired permutation test, over all
/// signs for up to 16 examples that differ, else over 10,000 draws.
/// </param>
/// <param name="Wins">Examples in which the second is better.</param>
/// <param name="Losses">Examples in which it is worse.</param>
/// <param name="Ties">Examples in which both are equal.</param>
/// <param name="Changed">Places of the examples that differ, the greatest gain first and the greatest loss last.</param>
public sealed record PairedComparison(
    double Difference, ConfidenceInterval? Interval, double PValue, int Wins, int Losses, int Ties, IReadOnlyList<int> Changed)
{
    private const int Exact = 16;
    private const int Draws = 10_000;

    /// <summary>Compares where both results have a value.</summary>
    /// <param name="first">What is compared with.</param>
    /// <param name="second">What is compared.</param>
    /// <param name="seed">Decides the draws.</param>
    /// <exception cref="ArgumentException">The results are of different metrics or numbers of examples, or have no example in common.</exception>
    public static PairedComparison Of(EvaluationResult first, EvaluationResult second, ulong seed = Bootstrap.Seed)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        if (first.Metric != second.Metric || first.Values.Count != second.Values.Count)
        {
            throw new ArgumentException(
                $"{first.Metric} over {first.Values.Count} examples cannot be compared with {second.Metric} over {second.Values.Count}.");
        }

        double?[] differences = [.. first.Values.Zip(second.Values, (before, after) => after - before)];
        double[] known = [.. differences.OfType<double>()];
        if (known.Length == 0)
        {
            throw new ArgumentException($"No example has a value of {first.Metric} in both results.");
        }

        int better = first.HigherIsBetter ? 1 : -1;
        return new PairedComparison(
            known.Average(),
            Bootstrap.Mean(differences, seed),
            Chance([.. known.Where(difference => difference != 0)], seed),
            known.Count(difference => difference * better > 0),
            known.Count(difference => difference * better < 0),
            known.Count(difference => difference == 0),
            [.. Enumerable.Range(0, differences.Length).Where(i => differences[i] is not (null or 0)).OrderByDescending(i => differences[i] * better)]);
    }

    private static double Chance(double[] differences, ulong seed)
    {
        // Sums of the same figures in another order must count as equal.
        double least = Math.Abs(differences.Sum()) - (1e-12 * differences.Sum(Math.Abs));
        if (differences.Length <= Exact)
        {
            int all = 1 << differences.Length;
            return (double)Enumerable.Range(0, all).Count(signs => Math.Abs(Signed(differences, _ => (ulong)signs)) >= least) / all;
        }

        int extreme = Enumerable.Range(0, Draws).Count(draw => Math.Abs(Signed(differences, new CounterRandom(seed, draw).Bits)) >= least);
        return (extreme + 1.0) / (Draws + 1); // The observed signs are one draw.
    }

    /// <summary>The sum with signs by bits, 64 examples a word.</summary>
    private static double Signed(double[] differences, Func<int, ulong> bits)
    {
        double sum = 0;
        for (int word = 0; word * 64 < differences.Length; word++)
        {
            ulong signs = bits(word);
            foreach (double difference in differences.AsSpan(word * 64, Math.Min(64, differences.Length - (word * 64))))
            {
                sum += (signs & 1) == 0 ? difference : -difference;
                signs >>= 1;
            }
        }

        return sum;
    }
}
