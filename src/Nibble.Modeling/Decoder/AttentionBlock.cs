using Nibble.Kernels;
using Nibble.Modeling.Configuration;
using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>Grouped-query causal self-attention with rotary positions.</summary>
internal sealed class AttentionBlock : IDisposable
{
    private readonly DecoderConfig config;
    private readonly int layer;

    public AttentionBlock(DecoderConfig config, int layer, DecoderParts parts)
    {
        this.config = config;
        this.layer = layer;
        string path = $"model.layers.{layer}.self_attn";
        (int queries, int keys, int hidden) = (config.NumAttentionHeads * config.HeadDim, config.NumKeyValueHeads * config.HeadDim, config.HiddenSize);
        Query = parts.Linear($"{path}.q_proj", queries, hidden, config.QueryKeyValueBias);
        Key = parts.Linear($"{path}.k_proj", keys, hidden, config.QueryKeyValueBias);
        Value = parts.Linear($"{path}.v_proj", keys, hidden, config.QueryKeyValueBias);
        Output = parts.Linear($"{path}.o_proj", hidden, queries, config.OutputBias);
        if (config.QueryKeyNorm)
        {
            QueryNorm = parts.Norm($"{path}.q_norm", config.HeadDim, config.RmsNormEps);
            KeyNorm = parts.Norm($"{path}.k_norm", config.HeadDim, config.RmsNormEps);
        }
    }

    public LinearLayer Query { get; }

    public LinearLayer Key { get; }

    public LinearLayer Value { get; }

    public LinearLayer Output { get; }

    public NormLayer? QueryNorm { get; }

    public NormLayer? KeyNorm { get; }

    public Tensor Forward(Tensor x, ForwardContext context)
    {
        long tokens = x.size(0);
        IReadOnlyList<Tensor> projected = LinearLayer.ForwardAll(x, context, Query, Key, Value);
        Tensor query = projected[0].view(tokens, config.NumAttentionHeads, config.HeadDim);
        Tensor key = projected[1].view(tokens, config.NumKeyValueHeads, config.HeadDim);
        Tensor value = projected[2].view(tokens, config.NumKeyValueHeads, config.HeadDim);
        query = Rope.Apply(QueryNorm?.Forward(query) ?? query, context.Cos, context.Sin);
        key = Rope.Apply(KeyNorm?.Forward(key) ?? key, context.Cos, context.Sin);
        int? window = config.LayerWindows[layer];
        Tensor attended = context.Cache is { } cache
            ? AttendCached(query, key, value, context.Lengths, cache, window)
            : CausalAttention.Apply(query, key, value, context.Lengths, window);
        return Output.Forward(attended.reshape(tokens, config.NumAttentionHeads * config.HeadDim), context);
    }

    private Tensor AttendCached(Tensor query, Tensor key, Tensor value, IReadOnlyList<int> lengths, KvCache cache, int? window)
    {
        var outputs = new Tensor[lengths.Count];
        long start = 0;
        for (int i = 0; i < lengths.Count; i++)
        {
            (Tensor keys, Tensor values) = cache.Append(layer, i, key.narrow(0, start, lengths[i]), value.narrow(0, start, lengths[i]));
            outputs[i] = CausalAttention.ApplyCached(query.narrow(0, start, lengths[i]), keys, values, window);
            start += lengths[i];
        }

        return cat(outputs, 0);
    }

    public void Dispose()
    {
        Query.Dispose();
        Key.Dispose();
        Value.Dispose();
        Output.Dispose();
        QueryNorm?.Dispose();
        KeyNorm?.Dispose();
    }
}
