using Nibble.Kernels;
using static TorchSharp.torch;

namespace Nibble.Training.Distributed;

/// <summary>What of a parameter decides where it lies.</summary>
/// <param name="Elements">Its size.</param>
/// <param name="Unit">The unit of the model that it is of.</param>
/// <param name="DType">In which it is computed with.</param>
/// <param name="Stays">Whether every rank has all of it at any time, or only while its unit is used.</param>
internal readonly record struct FlatParameter(long Elements, int Unit, ScalarType DType = ScalarType.Float32, bool Stays = true);

/// <summary>Part of a parameter that belongs to one rank: elements <c>[Start, Start + Count)</c> of parameter number <c>Parameter</c>.</summary>
/// <param name="Parameter">Its place in the list.</param>
/// <param name="Start">First element, a multiple of <see cref="AdamW.StateBlock"/>.</param>
/// <param name="Count">Elements.</param>
/// <param name="InShare">Where it begins in the rank's share of the bucket.</param>
internal readonly record struct Slice(int Parameter, long Start, long Count, long InShare);

/// <summary>Parameters that are sent together.</summary>
/// <param name="Places">Their numbers, where each begins, and how many elements it has.</param>
/// <param name="Length">Elements, the gaps between parameters counted.</param>
/// <param name="Unit">The first unit that they are of; when its backward pass is through, all of them have their gradients.</param>
/// <param name="DType">Of all of them.</param>
/// <param name="Stays">Of all of them; those of one that does not stay are of one unit.</param>
internal sealed record Bucket(IReadOnlyList<(int Parameter, long Offset, long Count)> Places, long Length, int Unit, ScalarType DType, bool Stays);

/// <summary>
/// Parameters laid end to end, for messages of one piece: each begins at a multiple of the optimizer's 8-bit blocks, so that no block
/// lies in two shares. Consecutive parameters of a kind make a bucket, which is sent at once and divided evenly between the ranks.
/// </summary>
internal sealed class FlatLayout
{
    private readonly int ranks;

    /// <param name="parameters">All of them.</param>
    /// <param name="ranks">Number of processes.</param>
    /// <param name="bucketElements">A bucket ends at the first parameter that brings it to so many.</param>
    public FlatLayout(IReadOnlyList<FlatParameter> parameters, int ranks, long bucketElements)
    {
        this.ranks = ranks;
        var buckets = new List<Bucket>();
        foreach (IGrouping<(ScalarType, bool), (FlatParameter Parameter, int Number)> kind in
            parameters.Select((parameter, number) => (parameter, number)).GroupBy(item => (item.parameter.DType, item.parameter.Stays)))
        {
            var places = new List<(int, long, long)>();
            long end = 0;
            FlatParameter before = default;
            foreach ((FlatParameter parameter, int number) in kind)
            {
                if (places.Count > 0 && (end >= bucketElements || Parted(before, parameter)))
                {
                    Close();
                }

                places.Add((number, WholeBlocks(end), parameter.Elements));
                end = WholeBlocks(end) + parameter.Elements;
                before = parameter;
            }

            Close();

            void Close()
            {
                buckets.Add(new Bucket([.. places], end, places.Min(place => parameters[place.Item1].Unit), before.DType, before.Stays));
                places.Clear();
                end = 0;
            }
        }

        Buckets = buckets;
    }

    /// <summary>All buckets.</summary>
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

    /// <summary>Gradients of unit 0 come last: who shares its bucket would wait for them. What comes and goes does so with its unit.</summary>
    private static bool Parted(FlatParameter before, FlatParameter next) => before.Unit != next.Unit && (!next.Stays || before.Unit == 0 || next.Unit == 0);

    private static long WholeBlocks(long elements) => (elements + AdamW.StateBlock - 1) / AdamW.StateBlock * AdamW.StateBlock;
}
