namespace Nibble.Evaluation.Statistics;

/// <summary>
/// Confidence intervals of 95% by the percentile bootstrap (Efron 1979): examples are drawn again with replacement, and the interval holds the
/// middle 95% of the scores that come out. The same seed gives the same interval on every machine.
/// </summary>
public static class Bootstrap
{
    /// <summary>How often the examples are drawn again.</summary>
    public const int Resamples = 1000;

    /// <summary>What decides the draws.</summary>
    public const ulong Seed = 42;

    private const double Outside = 0.025;

    /// <summary>Where the mean of the values lies.</summary>
    /// <param name="values">One for each example; null where it could not be scored, which is left out.</param>
    /// <param name="seed">Decides the draws.</param>
    /// <param name="resamples">How often the examples are drawn again.</param>
    /// <returns>Null for fewer than two values, from which nothing can be told.</returns>
    public static ConfidenceInterval? Mean(IEnumerable<double?> values, ulong seed = Seed, int resamples = Resamples) =>
        Corpus([.. values.OfType<double>().Select(value => new[] { value, 1 })], totals => totals[0] / totals[1], seed, resamples);

    /// <summary>Where a score lies that is no mean of the examples' own, such as BLEU or perplexity.</summary>
    /// <param name="statistics">For each example the figures of which the score knows only the sums, all equally many.</param>
    /// <param name="score">From the sums to the score.</param>
    /// <param name="seed">Decides the draws.</param>
    /// <param name="resamples">How often the examples are drawn again.</param>
    /// <returns>Null for fewer than two examples.</returns>
    public static ConfidenceInterval? Corpus(
        IReadOnlyList<double[]> statistics, Func<double[], double> score, ulong seed = Seed, int resamples = Resamples)
    {
        ArgumentNullException.ThrowIfNull(statistics);
        ArgumentNullException.ThrowIfNull(score);
        ArgumentOutOfRangeException.ThrowIfLessThan(resamples, 1);
        if (statistics.Count < 2)
        {
            return null;
        }

        double[] scores = new double[resamples];
        for (int resample = 0; resample < resamples; resample++)
        {
            var random = new CounterRandom(seed, resample);
            double[] totals = new double[statistics[0].Length];
            for (int draw = 0; draw < statistics.Count; draw++)
            {
                Add(totals, statistics[random.Below(statistics.Count, draw)]);
            }

            scores[resample] = score(totals);
        }

        Array.Sort(scores);
        return new ConfidenceInterval(Quantile(scores, Outside), Quantile(scores, 1 - Outside));
    }

    /// <summary>The sums of all examples' figures.</summary>
    internal static double[] Totals(IReadOnlyList<double[]> statistics)
    {
        double[] totals = new double[statistics[0].Length];
        foreach (double[] row in statistics)
        {
            Add(totals, row);
        }

        return totals;
    }

    private static void Add(double[] totals, double[] row)
    {
        for (int i = 0; i < totals.Length; i++)
        {
            totals[i] += row[i];
        }
    }

    /// <summary>Between the two nearest of the sorted values, in proportion.</summary>
    private static double Quantile(double[] sorted, double share)
    {
        double place = share * (sorted.Length - 1);
        int below = (int)place;
        double above = sorted[Math.Min(below + 1, sorted.Length - 1)];
        return sorted[below] + ((place - below) * (above - sorted[below]));
    }
}
