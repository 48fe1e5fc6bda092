using Nibble.Evaluation.Statistics;

namespace Nibble.Evaluation.Tests.Statistics;

public class BootstrapTests
{
    [Fact]
    public void The_interval_of_a_mean_is_that_of_the_normal_distribution_where_there_are_many_values()
    {
        // A thousand flips of a coin with probability 0.3: the mean's standard error is sqrt(0.3 * 0.7 / 1000).
        double?[] values = [.. Enumerable.Range(0, 1000).Select(i => i % 10 < 3 ? 1.0 : 0.0)];
        ConfidenceInterval interval = Bootstrap.Mean(values, resamples: 20_000)!.Value;
        double half = 1.96 * Math.Sqrt(0.3 * 0.7 / 1000);
        Assert.Equal(0.3 - half, interval.Low, 0.0015);
        Assert.Equal(0.3 + half, interval.High, 0.0015);
    }

    [Fact]
    public void The_interval_holds_the_truth_nineteen_times_of_twenty()
    {
        var random = new Random(7);
        int held = Enumerable.Range(0, 400).Count(trial =>
        {
            ConfidenceInterval interval = Bootstrap.Mean([.. Enumerable.Range(0, 200).Select(_ => (double?)random.NextDouble())], (ulong)trial)!.Value;
            return interval.Low <= 0.5 && 0.5 <= interval.High;
        });
        Assert.InRange(held, 365, 393); // 380 expected, with a standard deviation of 4.4.
    }

    [Fact]
    public void The_same_seed_gives_the_same_interval_on_every_machine()
    {
        double?[] values = [.. Enumerable.Range(0, 50).Select(i => (double?)(i * i % 17))];
        ConfidenceInterval interval = Bootstrap.Mean(values)!.Value;
        Assert.Equal(interval, Bootstrap.Mean(values));
        Assert.NotEqual(interval, Bootstrap.Mean(values, seed: 43));
        Assert.Equal(6.6795, interval.Low, 1e-12); // Found with another program.
        Assert.Equal(9.600499999999998, interval.High, 1e-12);
    }

    [Fact]
    public void A_score_of_sums_is_no_mean_of_the_examples()
    {
        // Ratios whose weights differ: the score is the ratio of the sums.
        double[][] statistics = [.. Enumerable.Range(1, 200).Select(i => new double[] { i % 3, i })];
        ConfidenceInterval interval = Bootstrap.Corpus(statistics, totals => totals[0] / totals[1])!.Value;
        double score = statistics.Sum(row => row[0]) / statistics.Sum(row => row[1]);
        Assert.InRange(score, interval.Low, interval.High);
        Assert.InRange(interval.High - interval.Low, score * 0.1, score * 0.5);
    }

    [Fact]
    public void One_example_tells_nothing_and_missing_values_are_left_out()
    {
        Assert.Null(Bootstrap.Mean([1]));
        Assert.Null(Bootstrap.Mean([1, null]));
        Assert.Equal(Bootstrap.Mean([1, 0, 1]), Bootstrap.Mean([1, null, 0, null, 1]));
        Assert.Equal(new ConfidenceInterval(3, 3), Bootstrap.Mean([3, 3, 3]));
    }
}
