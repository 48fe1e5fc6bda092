using static TorchSharp.torch;
using static TorchSharp.torch.nn.functional;

namespace Nibble.Kernels;

/// <summary>
/// Causal attention over packed sequences: tokens attend to earlier tokens of their own sequence and to no others, and no
/// work is done across sequences.
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
        ArgumentNullException.ThrowIfNull(lengths);
        if (lengths.Sum() != query.shape[0])
        {
            throw new ArgumentException($"Sequences of {lengths.Sum()} tokens in all, but {query.shape[0]} queries.");
        }

        return is_grad_enabled() && (query.requires_grad || key.requires_grad || value.requires_grad)
            ? AttentionFunction.apply(query, key, value, new Packed(lengths, window))
            : Forward(query, key, value, lengths, window);
    }

    private static Tensor Forward(Tensor query, Tensor key, Tensor value, IReadOnlyList<int> lengths, int? window)
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
        long fresh = query.shape[0];
        long length = key.shape[0];
        bool masked = (fresh > 1 && fresh < length) || (window is { } size && length > size);
        Tensor? mask = masked ? Mask(fresh, length, window, query.device) : null;
        return Attend(query.unsqueeze(0), key.unsqueeze(0), value.unsqueeze(0), mask, causal: !masked && fresh > 1).squeeze(0);
    }

    private static Tensor AttendBatch(Tensor query, Tensor key, Tensor value, int sequences, int length, int? window)
    {
        Tensor? mask = window is { } size && length > size ? Mask(length, length, window, query.device) : null;
        Tensor result = Attend(
            query.view(sequences, length, query.shape[1], query.shape[2]),
            key.view(sequences, length, key.shape[1], key.shape[2]),
            value.view(sequences, length, value.shape[1], value.shape[2]),
            mask,
            causal: mask is null);
        return result.reshape(query.shape[0], query.shape[1], value.shape[2]);
    }

    /// <summary>Tensors [sequences, tokens, heads, head_dim].</summary>
    private static Tensor Attend(Tensor query, Tensor key, Tensor value, Tensor? mask, bool causal)
    {
        long groups = query.shape[2] / key.shape[2];
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

    private sealed record Packed(IReadOnlyList<int> Lengths, int? Window);

    /// <summary>Attention with its graph inside, as one node whose backward pass is run, and measured, here.</summary>
    private sealed class AttentionFunction : autograd.SingleTensorFunction<AttentionFunction>
    {
        public override string Name => "nibble.causal_attention";

        public override Tensor forward(autograd.AutogradContext ctx, params object[] vars)
        {
            Tensor[] inputs = [.. vars.Take(3).Select(input => ((Tensor)input).detach().requires_grad_())];
            var packed = (Packed)vars[3];
            using IDisposable grad = enable_grad();
            Tensor output = Forward(inputs[0], inputs[1], inputs[2], packed.Lengths, packed.Window);
            ctx.save_data("graph", (inputs, output));
            return output.detach();
        }

        public override List<Tensor> backward(autograd.AutogradContext ctx, Tensor grad_output) => BackwardPass.Guard(4, () =>
        {
            (Tensor[] inputs, Tensor output) = ((Tensor[], Tensor))ctx.get_data("graph");
            using (Profiler.Operator("CausalAttention backward"))
            {
                BackwardPass.Run(output, grad_output);
            }

            return [.. inputs.Select(input => input.grad!), null!];
        });
    }
}
