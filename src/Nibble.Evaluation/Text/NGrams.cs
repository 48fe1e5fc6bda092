using System.Runtime.InteropServices;

namespace Nibble.Evaluation.Text;

/// <summary>Numbers the n-grams of a few texts, so that those of equal length are equal where their numbers are.</summary>
/// <remarks>An n-gram's number is that of the pair of its first n - 1 tokens' number and its last token's.</remarks>
internal sealed class NGrams<T>
    where T : notnull
{
    private readonly Dictionary<T, int> tokens = [];
    private readonly Dictionary<(int Beginning, int Last), int> longer = [];

    /// <summary>The numbers of a text's n-grams, in order.</summary>
    public int[] Of(IReadOnlyList<T> text, int order)
    {
        int[] single = [.. text.Select(token => Number(tokens, token))];
        int[] numbers = single;
        for (int n = 2; n <= order; n++)
        {
            numbers = Longer(numbers, single);
        }

        return numbers;
    }

    /// <summary>How often each n-gram occurs, for each order from 1.</summary>
    public Dictionary<int, int>[] Count(IReadOnlyList<T> text, int orders)
    {
        int[] single = Of(text, 1);
        int[] numbers = single;
        var counts = new Dictionary<int, int>[orders];
        for (int n = 1; n <= orders; n++)
        {
            counts[n - 1] = NGrams.Count(numbers);
            numbers = Longer(numbers, single);
        }

        return counts;
    }

    private int[] Longer(int[] numbers, int[] single)
    {
        int order = single.Length - numbers.Length + 1;
        return [.. numbers.SkipLast(1).Select((number, i) => Number(longer, (number, single[i + order])))];
    }

    private static int Number<TKey>(Dictionary<TKey, int> numbers, TKey key)
        where TKey : notnull
    {
        ref int number = ref CollectionsMarshal.GetValueRefOrAddDefault(numbers, key, out bool known);
        number = known ? number : numbers.Count;
        return number;
    }
}

/// <summary>Counts of numbered n-grams.</summary>
internal static class NGrams
{
    public static Dictionary<int, int> Count(int[] numbers)
    {
        var counts = new Dictionary<int, int>();
        foreach (int number in numbers)
        {
            CollectionsMarshal.GetValueRefOrAddDefault(counts, number, out _)++;
        }

        return counts;
    }

    /// <summary>How many n-grams two texts share, each as often as both have it.</summary>
    public static int Matches(Dictionary<int, int> a, Dictionary<int, int> b) =>
        a.Sum(entry => Math.Min(entry.Value, b.GetValueOrDefault(entry.Key)));
}
