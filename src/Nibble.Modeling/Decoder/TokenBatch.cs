namespace Nibble.Modeling.Decoder;

/// <summary>
/// Token sequences laid end to end, the only form in which the decoder sees text: no padding is ever computed, positions
/// restart with each sequence, and attention stays within it.
/// </summary>
/// <param name="InputIds">Tokens of all sequences, in order.</param>
/// <param name="Lengths">Tokens of each sequence; they add up to the number of tokens.</param>
public sealed record TokenBatch(int[] InputIds, int[] Lengths)
{
    /// <summary>Target of each token, not yet shifted, -100 where no loss is taken; null when nothing is to be learned.</summary>
    public int[]? Labels { get; init; }

    /// <summary>Joins sequences.</summary>
    public static TokenBatch Of(params IReadOnlyList<int>[] sequences) =>
        new([.. sequences.SelectMany(ids => ids)], [.. sequences.Select(ids => ids.Count)]);

    /// <summary>Drops the padding of a rectangular batch, on whichever side it is.</summary>
    /// <param name="inputIds"><c>[batch][length]</c>.</param>
    /// <param name="attentionMask">1 for tokens, 0 for padding; like inputIds.</param>
    /// <param name="labels">Like inputIds, or null.</param>
    public static TokenBatch FromPadded(int[][] inputIds, int[][] attentionMask, int[][]? labels = null)
    {
        IEnumerable<int> Kept(int[][] rows) => rows.SelectMany((row, i) => row.Where((_, j) => attentionMask[i][j] != 0));
        return new([.. Kept(inputIds)], [.. attentionMask.Select(row => row.Count(mask => mask != 0))])
        {
            Labels = labels is null ? null : [.. Kept(labels)],
        };
    }

    /// <summary>Labels shifted by one within each sequence: element t is the target of token t.</summary>
    public long[] ShiftedLabels()
    {
        int[] labels = Labels ?? InputIds;
        var shifted = new long[labels.Length];
        int start = 0;
        foreach (int length in Lengths)
        {
            for (int i = 0; i < length; i++)
            {
                shifted[start + i] = i + 1 < length ? labels[start + i + 1] : Kernels.LinearCrossEntropy.Ignored;
            }

            start += length;
        }

        return shifted;
    }
}
