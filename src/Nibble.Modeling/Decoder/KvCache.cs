using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>Keys and values of the tokens that sequences have seen, so that generation computes each token once.</summary>
public sealed class KvCache : IDisposable
{
    private Slot[][] slots;

    /// <summary>An empty cache.</summary>
    /// <param name="layers">Decoder layers.</param>
    /// <param name="sequences">Sequences of the batch.</param>
    public KvCache(int layers, int sequences)
    {
        slots = [.. Enumerable.Range(0, sequences).Select(_ => Enumerable.Range(0, layers).Select(_ => new Slot()).ToArray())];
        Lengths = new int[sequences];
    }

    /// <summary>Tokens that each sequence has seen.</summary>
    public int[] Lengths { get; private set; }

    /// <summary>Adds keys and values <c>[new tokens, kv_heads, head_dim]</c> of one sequence and returns views of all.</summary>
    internal (Tensor Keys, Tensor Values) Append(int layer, int sequence, Tensor keys, Tensor values) =>
        slots[sequence][layer].Append(Lengths[sequence], keys, values);

    /// <summary>Counts the tokens that all layers have now added.</summary>
    internal void Advance(IReadOnlyList<int> added)
    {
        for (int i = 0; i < Lengths.Length; i++)
        {
            Lengths[i] += added[i];
        }
    }

    /// <summary>Drops finished sequences; the others keep their order.</summary>
    public void Keep(IReadOnlyList<int> sequences)
    {
        for (int i = 0; i < slots.Length; i++)
        {
            if (!sequences.Contains(i))
            {
                Free(i);
            }
        }

        slots = [.. sequences.Select(i => slots[i])];
        Lengths = [.. sequences.Select(i => Lengths[i])];
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        for (int i = 0; i < slots.Length; i++)
        {
            Free(i);
        }
    }

    private void Free(int sequence)
    {
        foreach (Slot slot in slots[sequence])
        {
            slot.Dispose();
        }
    }

    /// <summary>One layer's memory of one sequence; its room doubles when it is full.</summary>
    private sealed class Slot : IDisposable
    {
        private Tensor? keys;
        private Tensor? values;

        public (Tensor Keys, Tensor Values) Append(int length, Tensor newKeys, Tensor newValues)
        {
            long needed = length + newKeys.size(0);
            keys = Room(keys, length, needed, newKeys);
            values = Room(values, length, needed, newValues);
            using (Tensor target = keys.narrow(0, length, newKeys.size(0)))
            {
                target.copy_(newKeys);
            }

            using (Tensor target = values.narrow(0, length, newValues.size(0)))
            {
                target.copy_(newValues);
            }

            return (keys.narrow(0, 0, needed), values.narrow(0, 0, needed));
        }

        public void Dispose()
        {
            keys?.Dispose();
            values?.Dispose();
            (keys, values) = (null, null);
        }

        private static Tensor Room(Tensor? memory, int length, long needed, Tensor like)
        {
            if (memory is not null && memory.size(0) >= needed)
            {
                return memory;
            }

            Tensor larger = empty(Math.Max(needed, 2L * length), like.size(1), like.size(2), like.dtype, like.device).DetachFromDisposeScope();
            if (memory is not null)
            {
                using Tensor target = larger.narrow(0, 0, length);
                using Tensor source = memory.narrow(0, 0, length);
                target.copy_(source);
                memory.Dispose();
            }

            return larger;
        }
    }
}
