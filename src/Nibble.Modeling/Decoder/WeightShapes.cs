using Nibble.Modeling.Configuration;

namespace Nibble.Modeling.Decoder;

/// <summary>The weights of a decoder as a Hugging Face folder names them.</summary>
public static class WeightShapes
{
    /// <summary>Every weight, in the order of the forward pass; linear weights are <c>[out, in]</c>.</summary>
    public static IEnumerable<(string Name, long[] Shape)> Of(DecoderConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        yield return ("model.embed_tokens.weight", [config.VocabSize, config.HiddenSize]);
        for (int layer = 0; layer < config.NumHiddenLayers; layer++)
        {
            foreach ((string name, long[] shape) in OfLayer(config))
            {
                yield return ($"model.layers.{layer}.{name}", shape);
            }
        }

        yield return ("model.norm.weight", [config.HiddenSize]);
        if (!config.TieWordEmbeddings)
        {
            yield return ("lm_head.weight", [config.VocabSize, config.HiddenSize]);
        }
    }

    private static IEnumerable<(string Name, long[] Shape)> OfLayer(DecoderConfig config)
    {
        long hidden = config.HiddenSize;
        long queries = config.NumAttentionHeads * config.HeadDim;
        long keys = config.NumKeyValueHeads * config.HeadDim;
        yield return ("input_layernorm.weight", [hidden]);
        (string, long, long, bool)[] linears =
        [
            ("self_attn.q_proj", queries, hidden, config.QueryKeyValueBias),
            ("self_attn.k_proj", keys, hidden, config.QueryKeyValueBias),
            ("self_attn.v_proj", keys, hidden, config.QueryKeyValueBias),
            ("self_attn.o_proj", hidden, queries, config.OutputBias),
            ("mlp.gate_proj", config.IntermediateSize, hidden, config.MlpBias),
            ("mlp.up_proj", config.IntermediateSize, hidden, config.MlpBias),
            ("mlp.down_proj", hidden, config.IntermediateSize, config.MlpBias),
        ];
        foreach ((string name, long outputs, long inputs, bool bias) in linears)
        {
            yield return ($"{name}.weight", [outputs, inputs]);
            if (bias)
            {
                yield return ($"{name}.bias", [outputs]);
            }
        }

        if (config.QueryKeyNorm)
        {
            yield return ("self_attn.q_norm.weight", [config.HeadDim]);
            yield return ("self_attn.k_norm.weight", [config.HeadDim]);
        }

        yield return ("post_attention_layernorm.weight", [hidden]);
    }
}
