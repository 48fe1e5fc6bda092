using Nibble.Data.Validation;

namespace Nibble.Data.Tests;

public class MinHashTests
{
    /// <summary>Sixty-four bins: a standard error of at most 0.0625, held against the exact Jaccard similarity.</summary>
    [Fact]
    public void Estimated_similarity_is_the_exact_one_within_its_error()
    {
        var random = new Random(5);
        double worst = 0;
        double sum = 0;
        for (int trial = 0; trial < 300; trial++)
        {
            string a = string.Join(' ', Enumerable.Range(0, 120).Select(_ => $"w{random.Next(10000)}"));
            string[] words = a.Split(' ');
            for (int edit = 0; edit < trial % 30; edit++)
            {
                words[random.Next(words.Length)] = $"x{random.Next(10000)}";
            }

            string b = string.Join(' ', words);
            double error = Similarity(a, b) - Jaccard(a, b);
            worst = Math.Max(worst, Math.Abs(error));
            sum += error;
        }

        Assert.InRange(worst, 0, 4 * 0.0625);
        Assert.InRange(sum / 300, -0.015, 0.015);
    }

    [Fact]
    public void Texts_under_different_seeds_have_nothing_in_common() => Assert.InRange(Similarity("the quick brown fox jumps", "the quick brown fox jumps", 1), 0, 0.1);

    [Fact]
    public void Texts_shorter_than_a_gram_have_no_signature() => Assert.False(MinHash.TrySign("twelve chars ...", 0, new ulong[MinHash.Bands]));

    private static double Similarity(string a, string b, ulong seed = 0)
    {
        ulong[] first = new ulong[MinHash.Bands];
        ulong[] second = new ulong[MinHash.Bands];
        Assert.True(MinHash.TrySign(a, 0, first) && MinHash.TrySign(b, seed, second));
        return MinHash.Similarity(first, second);
    }

    private static double Jaccard(string a, string b)
    {
        HashSet<string> Grams(string text) => [.. Enumerable.Range(0, text.Length - 12).Select(i => text.Substring(i, 13))];
        (HashSet<string> first, HashSet<string> second) = (Grams(a), Grams(b));
        int common = first.Count(second.Contains);
        return (double)common / (first.Count + second.Count - common);
    }
}
