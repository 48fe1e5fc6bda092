using Nibble.Evaluation.Statistics;

namespace Nibble.Evaluation.Tests.Statistics;

public class PairedComparisonTests
{
    [Fact]
    public void Wins_losses_and_ties_are_counted_and_the_changed_examples_sorted()
    {
        PairedComparison comparison = PairedComparison.Of(Result(0, 1, 0.5, null, 0.5, 0), Result(1, 0, 0.5, 1, 0.75, null));
        Assert.Equal((2, 1, 1), (comparison.Wins, comparison.Losses, comparison.Ties));
        Assert.Equal([0, 4, 1], comparison.Changed);
        Assert.Equal(0.0625, comparison.Difference, 1e-12);
        Assert.InRange(comparison.Difference, comparison.Interval!.Value.Low, comparison.Interval.Value.High);
    }

    [Fact]
    public void Where_less_is_better_a_fall_is_a_win()
    {
        PairedComparison comparison = PairedComparison.Of(Result(5, 2) with { HigherIsBetter = false }, Result(3, 3) with { HigherIsBetter = false });
        Assert.Equal((1, 1), (comparison.Wins, comparison.Losses));
        Assert.Equal([0, 1], comparison.Changed);
        Assert.Equal(-0.5, comparison.Difference);
    }

    [Fact]
    public void Few_differences_are_tested_exactly()
    {
        // All eight differences point one way: only that and its opposite, of 256, are as extreme.
        Assert.Equal(2.0 / 256, PairedComparison.Of(Result(0, 0, 0, 0, 0, 0, 0, 0), Result(1, 2, 3, 4, 5, 6, 7, 8)).PValue);
        // 3 - 1 = 2: reached by (3, -1), (3, 1), and their opposites.
        Assert.Equal(1, PairedComparison.Of(Result(0, 1), Result(3, 0)).PValue);
        Assert.Equal(0.5, PairedComparison.Of(Result(0, 0), Result(3, 1)).PValue);
        Assert.Equal(1, PairedComparison.Of(Result(1, 2), Result(1, 2)).PValue);
    }

    [Fact]
    public void Many_differences_are_tested_by_draws_that_agree_with_the_exact_test()
    {
        // 60 wins and 40 losses of one each: the sign test's two-sided p is 0.0569.
        double?[] before = [.. Enumerable.Range(0, 100).Select(i => (double?)(i < 60 ? 0 : 1))];
        double?[] after = [.. before.Select(value => 1 - value)];
        PairedComparison comparison = PairedComparison.Of(Result(before), Result(after));
        Assert.Equal(0.0569, comparison.PValue, 0.007);
        Assert.Equal(comparison.PValue, PairedComparison.Of(Result(before), Result(after)).PValue);
        Assert.InRange(PairedComparison.Of(Result([.. before.Select(_ => (double?)0)]), Result([.. before.Select(_ => (double?)1)])).PValue, 0, 0.001);
    }

    [Fact]
    public void Results_that_do_not_belong_together_are_refused()
    {
        Assert.Throws<ArgumentException>(() => PairedComparison.Of(Result(1), Result(1, 2)));
        Assert.Throws<ArgumentException>(() => PairedComparison.Of(Result(1), Result(1) with { Metric = "other" }));
        Assert.Throws<ArgumentException>(() => PairedComparison.Of(Result(1, null), Result(null, 1)));
    }

    private static EvaluationResult Result(params double?[] values) => new("metric", 0, new Dictionary<string, double>()) { Values = values };
}
