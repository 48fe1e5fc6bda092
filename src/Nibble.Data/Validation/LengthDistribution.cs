namespace Nibble.Data.Validation;

/// <summary>How long things are, exactly, in memory that depends on the number of different lengths alone.</summary>
public sealed class LengthDistribution
{
    private readonly SortedDictionary<int, long> counts = [];
    private long sum;

    /// <summary>How many there are.</summary>
    public long Count { get; private set; }

    /// <summary>The mean length; 0 without any.</summary>
    public double Mean => Count == 0 ? 0 : (double)sum / Count;

    /// <summary>The shortest; 0 without any.</summary>
    public int Min => counts.Count == 0 ? 0 : counts.First().Key;

    /// <summary>The longest; 0 without any.</summary>
    public int Max => counts.Count == 0 ? 0 : counts.Last().Key;

    /// <summary>Counts one more.</summary>
    public void Add(int length)
    {
        counts[length] = counts.GetValueOrDefault(length) + 1;
        sum += length;
        Count++;
    }

    /// <summary>The smallest length that at least this share of all do not exceed (nearest rank); 0 without any.</summary>
    /// <param name="share">Above 0, at most 1.</param>
    public int Quantile(double share)
    {
        long rank = (long)Math.Ceiling(share * Count);
        foreach ((int length, long count) in counts)
        {
            rank -= count;
            if (rank <= 0)
            {
                return length;
            }
        }

        return Max;
    }

    /// <summary>Counts in ranges of equal width, from the shortest to the longest.</summary>
    /// <param name="most">Ranges at most.</param>
    public IReadOnlyList<(int From, int To, long Count)> Ranges(int most)
    {
        if (Count == 0)
        {
            return [];
        }

        int width = Math.Max(1, (int)Math.Ceiling((Max - Min + 1) / (double)most));
        long[] bars = new long[((Max - Min) / width) + 1];
        foreach ((int length, long count) in counts)
        {
            bars[(length - Min) / width] += count;
        }

        return [.. bars.Select((count, i) => (Min + (i * width), Min + ((i + 1) * width) - 1, count))];
    }
}
