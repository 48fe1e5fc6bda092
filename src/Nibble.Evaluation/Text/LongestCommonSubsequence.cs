using System.Numerics;

namespace Nibble.Evaluation.Text;

/// <summary>
/// The longest sequence of tokens that two texts have in common, 64 cells of the table at a time (Hyyrö 2004): bit j of a row is 0 where the
/// common length grows from column j to j + 1.
/// </summary>
internal sealed class LongestCommonSubsequence
{
    private readonly int[] text;
    private readonly ulong[] first;
    private readonly Dictionary<int, ulong[]> places = []; // For each token a bit where it stands.

    /// <param name="text">The second text, with which others will be compared.</param>
    public LongestCommonSubsequence(int[] text)
    {
        this.text = text;
        first = new ulong[(text.Length + 63) / 64];
        Array.Fill(first, ulong.MaxValue);
        for (int j = 0; j < text.Length; j++)
        {
            if (!places.TryGetValue(text[j], out ulong[]? bits))
            {
                places.Add(text[j], bits = new ulong[first.Length]);
            }

            bits[j / 64] |= 1UL << (j % 64);
        }
    }

    /// <summary>How many tokens a first text has in common with it.</summary>
    public int Length(int[] other) => Grown(other.Aggregate(first, Next), text.Length);

    /// <summary>Where the tokens of a longest common subsequence stand in a first text, last ones first.</summary>
    /// <remarks>Of several it is the one that rouge_score finds: walking back from both ends, the first text is shortened where that costs nothing.</remarks>
    public IEnumerable<int> Places(int[] other)
    {
        ulong[][] rows = new ulong[other.Length + 1][];
        rows[0] = first;
        for (int i = 0; i < other.Length; i++)
        {
            rows[i + 1] = Next(rows[i], other[i]);
        }

        int j = text.Length;
        for (int i = other.Length; i > 0 && j > 0; i--)
        {
            int length = Grown(rows[i], j);
            int above = Grown(rows[i - 1], j);
            while (other[i - 1] != text[j - 1] && above < length)
            {
                j--;
                length -= Grows(rows[i], j);
                above -= Grows(rows[i - 1], j);
            }

            if (other[i - 1] == text[j - 1])
            {
                yield return i - 1;
                j--;
            }
        }
    }

    private ulong[] Next(ulong[] row, int token)
    {
        if (!places.TryGetValue(token, out ulong[]? matches))
        {
            return row;
        }

        ulong[] next = new ulong[row.Length];
        ulong carry = 0;
        for (int w = 0; w < row.Length; w++)
        {
            ulong sum = unchecked(row[w] + (row[w] & matches[w]));
            ulong carried = unchecked(sum + carry);
            carry = sum < row[w] || carried < sum ? 1UL : 0;
            next[w] = carried | (row[w] & ~matches[w]);
        }

        return next;
    }

    /// <summary>The common length in column j: zeros before it.</summary>
    private static int Grown(ulong[] row, int j)
    {
        int ones = 0;
        for (int w = 0; w < j / 64; w++)
        {
            ones += BitOperations.PopCount(row[w]);
        }

        ulong rest = j % 64 == 0 ? 0 : row[j / 64] & ((1UL << (j % 64)) - 1);
        return j - ones - BitOperations.PopCount(rest);
    }

    private static int Grows(ulong[] row, int j) => (row[j / 64] >> (j % 64) & 1) == 0 ? 1 : 0;
}
