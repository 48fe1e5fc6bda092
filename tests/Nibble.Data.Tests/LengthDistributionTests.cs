using Nibble.Data.Validation;

namespace Nibble.Data.Tests;

public class LengthDistributionTests
{
    [Fact]
    public void Quantiles_are_those_of_the_sorted_list()
    {
        var random = new Random(3);
        int[] values = [.. Enumerable.Range(0, 997).Select(_ => random.Next(500))];
        var lengths = new LengthDistribution();
        Array.ForEach(values, lengths.Add);
        Array.Sort(values);
        Assert.All([0.01, 0.5, 0.95, 0.99, 1], share => Assert.Equal(values[(int)Math.Ceiling(share * 997) - 1], lengths.Quantile(share)));
        Assert.Equal((values[0], values[^1], 997), (lengths.Min, lengths.Max, lengths.Count));
        Assert.Equal(values.Average(), lengths.Mean, 1e-9);
    }

    [Fact]
    public void Ranges_hold_everything_once()
    {
        var lengths = new LengthDistribution();
        Assert.Empty(lengths.Ranges(4));
        Array.ForEach([3, 3, 4, 9, 12], lengths.Add);
        Assert.Equal([(3, 5, 3L), (6, 8, 0L), (9, 11, 1L), (12, 14, 1L)], lengths.Ranges(4));
    }
}
