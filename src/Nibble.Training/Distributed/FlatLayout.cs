using System.Globalization;
using System.Text.RegularExpressions;
using Nibble.Kernels;

namespace Nibble.Training.Distributed;

/// <summary>Part of a parameter that belongs to one rank: elements <c>[Start, Start + Count)</c> of parameter number <c>Parameter</c>.</summary>
/// <param name="Parameter">Its place in the list.</param>
/// <param name="Start">First element, a multiple of <see cref="AdamW.StateBlock"/>.</param>
/// <param name="Count">Elements.</param>
/// <param name="InShare">Where it begins in the rank's share of the bucket.</param>
internal readonly record struct Slice(int Parameter, long Start, long Count, long InShare);

/// <summary>
/// Parameters laid end to end, for messages of one piece: each begins at a multiple of the optimizer's 8-bit blocks, so that no block
/// lies in two shares. Consecutive parameters make a bucket, which is sent at once and divided evenly between the ranks.
/// </summary>
internal sealed partial class FlatLayout
{
    private readonly int ranks;

    /// <param name="parameters">Name and number of elements of each parameter.</param>
    /// <param name="ranks">Number of processes.</param>
    /// <param name="bucketElements">A bucket ends at the first parameter that brings it to so many.</param>
    public FlatLayout(IReadOnlyList<(string Name, long Elements)> parameters, int ranks, long bucketElements = 1L << 22)
    {
        this.ranks = ranks;
        var buckets = new List<Bucket>();
        var places = new List<(int Parameter, long Offset, long Count)>();
        int[] layers = [.. parameters.Select(parameter => LayerOf(parameter.Name))];
        long length = 0;
        int first = int.MaxValue;
        for (int i = 0; i < parameters.Count; i++)
        {
            places.Add((i, length, parameters[i].Elements));
            length += WholeBlocks(parameters[i].Elements);
            first = Math.Min(first, layers[i]);
            bool leavesLayers = i + 1 < layers.Length && layers[i] == NoLayer != (layers[i + 1] == NoLayer);
            if (length >= bucketElements || leavesLayers || i == parameters.Count - 1)
            {
                buckets.Add(new Bucket([.. places], length, first));
                first = int.MaxValue;
                places.Clear();
                length = 0;
            }
        }

        Buckets = buckets;
    }

    /// <summary>The layer of a bucket whose parameters are in none: the embedding, the last norm, the head.</summary>
    public const int NoLayer = -1;

    /// <summary>All buckets, in the order of the parameters.</summary>
    public IReadOnlyList<Bucket> Buckets { get; }

    /// <summary>Elements of a bucket that belong to each rank.</summary>
    public long[] Shares(Bucket bucket)
    {
        long share = WholeBlocks((bucket.Length + ranks - 1) / ranks);
        return [.. Enumerable.Range(0, ranks).Select(rank => Math.Clamp(bucket.Length - (rank * share), 0, share))];
    }

    /// <summary>The parts of a bucket's parameters that belong to a rank; of each parameter one at most.</summary>
    public IEnumerable<Slice> SlicesOf(Bucket bucket, int rank)
    {
        long[] shares = Shares(bucket);
        long from = shares.Take(rank).Sum();
        long to = from + shares[rank];
        foreach ((int parameter, long offset, long count) in bucket.Places)
        {
            long start = Math.Max(from, offset);
            long end = Math.Min(to, offset + count);
            if (start < end)
            {
                yield return new Slice(parameter, start - offset, end - start, start - from);
            }
        }
    }

    private static int LayerOf(string name) => LayerNumber().Match(name) is { Success: true } match
        ? int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture)
        : NoLayer;

    [GeneratedRegex(@"\blayers\.(\d+)\.")]
    private static partial Regex LayerNumber();

    private static long WholeBlocks(long elements) => (elements + AdamW.StateBlock - 1) / AdamW.StateBlock * AdamW.StateBlock;

    /// <summary>Parameters that are sent together.</summary>
    /// <param name="Places">Their numbers, where each begins, and how many elements it has.</param>
    /// <param name="Length">Elements, the gaps between parameters counted.</param>
    /// <param name="Layer">The first layer that they are of; when its backward pass is through, all of them have their gradients.</param>
    public sealed record Bucket(IReadOnlyList<(int Parameter, long Offset, long Count)> Places, long Length, int Layer);
}
