using Nibble.Kernels.Autograd;
using Nibble.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn.functional;

namespace Nibble.Kernels;

/// <summary>
/// Causal attention over packed sequences: tokens attend to earlier tokens of their own sequence and to no others, and no
/// work is done across sequences. In blocks on the CPU (FlashAttention, arXiv:2205.14135); libtorch's on a GPU.
/// </summary>
public static class CausalAttention
{
    /// <summary>Attends within each sequence of a packed batch.</summary>
    /// <param name="query"><c>[tokens, heads, head_dim]</c>.</param>
    /// <param name="key"><c>[tokens, kv_heads, head_dim]</c>; heads is a multiple of kv_heads (grouped-query attention, arXiv:2305.13245).</param>
    /// <param name="value">Like key.</param>
    /// <param name="lengths">Tokens of each sequence, in order; they add up to tokens.</param>
    /// <param name="window">Tokens see at most this many positions, themselves included; null for all.</param>
    /// <returns><c>[tokens, heads, head_dim]</c>.</returns>
    public static Tensor Apply(Tensor query, Tensor key, Tensor value, IReadOnlyList<int> lengths, int? window = null)
    {
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(key);
        ArgumentNullException.ThrowIfNull(value);
        ArgumentNullException.ThrowIfNull(lengths);
        if (lengths.Sum() != query.size(0))
        {
            throw new ArgumentException($"Sequences of {lengths.Sum()} tokens in all, but {query.shape[0]} queries.");
        }

        if (query.device_type != DeviceType.CPU)
        {
            return ApplyLibTorch(query, key, value, lengths, window);
        }

        var sequences = new Sequences([.. lengths], window ?? 0);
        return is_grad_enabled() && (query.requires_grad || key.requires_grad || value.requires_grad)
            ? AttentionNode.Apply(query, key, value, sequences)
            : Forward(query, key, value, sequences, logSumExp: null);
    }

    /// <summary>Attends from the last tokens of one sequence to all of it.</summary>
    /// <param name="query"><c>[new tokens, heads, head_dim]</c>, the last ones of the sequence.</param>
    /// <param name="key"><c>[sequence, kv_heads, head_dim]</c>.</param>
    /// <param name="value">Like key.</param>
    /// <param name="window">As in <see cref="Apply"/>.</param>
    /// <returns><c>[new tokens, heads, head_dim]</c>.</returns>
    public static Tensor ApplyCached(Tensor query, Tensor key, Tensor value, int? window = null)
    {
        ArgumentNullException.ThrowIfNull(query);
        ArgumentNullException.ThrowIfNull(key);
        long fresh = query.size(0);
        long length = key.size(0);
        bool masked = (fresh > 1 && fresh < length) || (window is { } size && length > size);
        Tensor? mask = masked ? Mask(fresh, length, window, query.device) : null;
        return Attend(query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0), mask, causal: !masked && fresh > 1).squeeze(0);
    }

    /// <summary>The same by libtorch, with its gradients; a batch where all sequences are of one length.</summary>
    internal static Tensor ApplyLibTorch(Tensor query, Tensor key, Tensor value, IReadOnlyList<int> lengths, int? window)
    {
        using Profiler.Scope measured = Profiler.Operator(nameof(CausalAttention));
        if (lengths.All(length => length == lengths[0]))
        {
            return AttendBatch(query, key, value, lengths.Count, lengths[0], window);
        }

        var outputs = new Tensor[lengths.Count];
        long start = 0;
        for (int i = 0; i < lengths.Count; i++)
        {
            outputs[i] = AttendBatch(
                query.narrow(0, start, lengths[i]), key.narrow(0, start, lengths[i]), value.narrow(0, start, lengths[i]), 1, lengths[i], window);
            start += lengths[i];
        }

        return cat(outputs, 0);
    }

    private static Tensor AttendBatch(Tensor query, Tensor key, Tensor value, int sequences, int length, int? window)
    {
        Tensor? mask = window is { } size && length > size ? Mask(length, length, window, query.device) : null;
        Tensor result = Attend(
            query.view(sequences, length, query.size(1), query.size(2)),
            key.view(sequences, length, key.size(1), key.size(2)),
            value.view(sequences, length, value.size(1), value.size(2)),
            mask,
            causal: mask is null);
        return result.reshape(query.size(0), query.size(1), value.size(2));
    }

    /// <summary>Tensors [sequences, tokens, heads, head_dim].</summary>
    private static Tensor Attend(Tensor query, Tensor key, Tensor value, Tensor? mask, bool causal)
    {
        long groups = query.size(2) / key.size(2);
        Tensor result = scaled_dot_product_attention(
            query.transpose(1, 2), Spread(key, groups).transpose(1, 2), Spread(value, groups).transpose(1, 2), mask, 0.0, causal);
        return result.transpose(1, 2);
    }

    /// <summary>Repeats each key-value head for the query heads that share it.</summary>
    private static Tensor Spread(Tensor heads, long groups)
    {
        if (groups == 1)
        {
            return heads;
        }

        long[] s = heads.shape;
        return heads.unsqueeze(3).expand(s[0], s[1], s[2], groups, s[3]).reshape(s[0], s[1], s[2] * groups, s[3]);
    }

    /// <summary>bool [queries, keys]: true where the last queries of a sequence may look.</summary>
    private static Tensor Mask(long queries, long keys, int? window, Device device)
    {
        Tensor allowed = ones(queries, keys, ScalarType.Bool, device).tril(keys - queries);
        return window is { } size ? allowed.logical_and(ones(queries, keys, ScalarType.Bool, device).triu(keys - queries - size + 1)) : allowed;
    }

    private static unsafe Tensor Forward(Tensor query, Tensor key, Tensor value, Sequences sequences, Tensor? logSumExp)
    {
        using Contiguous q = Contiguous.Of(query);
        using Contiguous k = Contiguous.Of(key);
        using Contiguous v = Contiguous.Of(value);
        Tensor output = empty_like(q);
        using KernelCall call = KernelCall.On(q, nameof(CausalAttention));
        fixed (int* lengths = sequences.Lengths)
        {
            NativeMethods.Attention view = sequences.View(lengths, q, k);
            call.Check(NativeMethods.nibble_attention_forward(
                &view,
                (int)DTypes.Of(q),
                call.Address(q, "query"),
                call.Address(k, "key"),
                call.Address(v, "value"),
                call.Address(output, "output"),
                call.AddressOrNull(logSumExp, "log sum exp")));
        }

        return output;
    }

    private sealed record Sequences(int[] Lengths, int Window)
    {
        public unsafe NativeMethods.Attention View(int* lengths, Tensor query, Tensor key) => new()
        {
            Lengths = lengths,
            Sequences = Lengths.Length,
            Heads = query.size(1),
            KeyValueHeads = key.size(1),
            HeadDim = query.size(2),
            Window = Window,
            Scale = 1 / MathF.Sqrt(query.size(2)),
        };
    }

    private sealed class AttentionNode(Sequences sequences) : GraphNode
    {
        private SavedTensor savedQuery;
        private SavedTensor savedKey;
        private SavedTensor savedValue;
        private SavedTensor savedOutput;
        private SavedTensor savedLogSumExp;

        public static Tensor Apply(Tensor query, Tensor key, Tensor value, Sequences sequences)
        {
            using Tensor logSumExp = empty(query.size(0), query.size(1), ScalarType.Float32);
            Tensor output = Forward(query, key, value, sequences, logSumExp);
            var node = new AttentionNode(sequences);
            node.Tie([output], [query, key, value]);
            node.savedQuery = node.Save(query);
            node.savedKey = node.Save(key);
            node.savedValue = node.Save(value);
            node.savedOutput = node.Save(output);
            node.savedLogSumExp = node.Save(logSumExp);
            return output;
        }

        protected override unsafe Tensor?[] Backward(Tensor?[] gradients)
        {
            using Contiguous query = Load(savedQuery);
            using Contiguous key = Load(savedKey);
            using Contiguous value = Load(savedValue);
            using Contiguous output = Load(savedOutput);
            using Contiguous logSumExp = Load(savedLogSumExp);
            using Contiguous doutput = Contiguous.Of(gradients[0]!);
            Tensor dquery = empty_like(query);
            Tensor dkey = empty_like(key);
            Tensor dvalue = empty_like(value);
            using KernelCall call = KernelCall.On(query, "CausalAttention backward");
            fixed (int* lengths = sequences.Lengths)
            {
                NativeMethods.Attention view = sequences.View(lengths, query, key);
                call.Check(NativeMethods.nibble_attention_backward(
                    &view,
                    (int)DTypes.Of(query),
                    call.Address(query, "query"),
                    call.Address(key, "key"),
                    call.Address(value, "value"),
                    call.Address(output, "output"),
                    call.Address(logSumExp, "log sum exp"),
                    call.Address(doutput, "doutput"),
                    call.Address(dquery, "dquery"),
                    call.Address(dkey, "dkey"),
                    call.Address(dvalue, "dvalue")));
            }

            return [dquery, dkey, dvalue];
        }
    }
}
