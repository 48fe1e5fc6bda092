using Nibble.Modeling.Decoder;

namespace Nibble.Training.Batching;

/// <summary>
/// Decides which examples make up each micro-batch of a run. Everything follows from (seed, epoch, index), so any point of a
/// run can be reached without replaying what came before.
/// </summary>
public sealed class BatchPlan
{
    private readonly IReadOnlyList<EncodedExample> examples;
    private readonly int[][] sequences;
    private readonly int batchSize;
    private readonly bool shuffle;
    private readonly ulong seed;
    private (int Epoch, int[] Sequences)? latest;

    /// <summary>Plans batches of <paramref name="batchSize"/> sequences.</summary>
    /// <param name="examples">The examples.</param>
    /// <param name="batchSize">Sequences in a micro-batch.</param>
    /// <param name="packTo">Joins examples to sequences of up to this many tokens; null keeps one example a sequence.</param>
    /// <param name="shuffle">Whether each epoch has an order of its own.</param>
    /// <param name="seed">Decides the orders.</param>
    public BatchPlan(IReadOnlyList<EncodedExample> examples, int batchSize, int? packTo, bool shuffle, ulong seed)
    {
        ArgumentNullException.ThrowIfNull(examples);
        this.examples = examples;
        this.batchSize = batchSize;
        this.shuffle = shuffle;
        this.seed = seed;
        sequences = packTo is { } length ? Pack(examples, length) : [.. Enumerable.Range(0, examples.Count).Select(i => new[] { i })];
    }

    /// <summary>Sequences of an epoch.</summary>
    public int SequenceCount => sequences.Length;

    /// <summary>Micro-batches of an epoch.</summary>
    public int BatchesPerEpoch => (sequences.Length + batchSize - 1) / batchSize;

    /// <summary>A micro-batch.</summary>
    public TokenBatch Batch(int epoch, int index)
    {
        int[] order = Order(epoch);
        List<EncodedExample> chosen =
            [.. order.Skip(index * batchSize).Take(batchSize).SelectMany(sequence => sequences[sequence]).Select(example => examples[example])];
        return EncodedExample.Batch(chosen);
    }

    /// <summary>First fit, in the order of the file, among the sequences that were opened last.</summary>
    private static int[][] Pack(IReadOnlyList<EncodedExample> examples, int length)
    {
        const int Open = 64;
        var bins = new List<List<int>>();
        var room = new List<int>();
        for (int i = 0; i < examples.Count; i++)
        {
            int size = examples[i].InputIds.Length;
            int bin = Enumerable.Range(Math.Max(0, bins.Count - Open), Math.Min(Open, bins.Count)).FirstOrDefault(b => room[b] >= size, -1);
            if (bin < 0)
            {
                bins.Add([]);
                room.Add(length);
                bin = bins.Count - 1;
            }

            bins[bin].Add(i);
            room[bin] -= size;
        }

        return [.. bins.Select(bin => bin.ToArray())];
    }

    private int[] Order(int epoch)
    {
        if (latest is { } known && known.Epoch == epoch)
        {
            return known.Sequences;
        }

        int[] order = [.. Enumerable.Range(0, sequences.Length)];
        if (shuffle)
        {
            // A keyed sort instead of a generator with state: the key of an item depends on nothing but its name.
            ulong[] keys = [.. order.Select(i => Mix(seed ^ Mix(((ulong)(uint)epoch << 32) | (uint)i)))];
            Array.Sort(keys, order);
        }

        latest = (epoch, order);
        return order;
    }

    private static ulong Mix(ulong z)
    {
        z += 0x9E3779B97F4A7C15UL;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
        return z ^ (z >> 31);
    }
}
