namespace Nibble.Modeling.Configuration;

/// <summary>An architecture that the decoder can be: how its config.json maps onto <see cref="DecoderConfig"/>.</summary>
internal sealed record Architecture(Func<ConfigJson, DecoderConfig> Read);

/// <summary>All known architectures, by <c>model_type</c>; adding one is adding a line and its reader.</summary>
internal static class Architectures
{
    public static IReadOnlyDictionary<string, Architecture> All { get; } = new Dictionary<string, Architecture>
    {
        ["llama"] = new(Llama),
        ["mistral"] = new(Mistral),
        ["qwen2"] = new(Qwen2),
        ["qwen3"] = new(Qwen3),
    };

    private static DecoderConfig Llama(ConfigJson json)
    {
        bool attentionBias = json.Flag("attention_bias", false);
        return Common(json) with
        {
            QueryKeyValueBias = attentionBias,
            OutputBias = attentionBias,
            MlpBias = json.Flag("mlp_bias", false),
        };
    }

    private static DecoderConfig Mistral(ConfigJson json)
    {
        DecoderConfig config = Common(json);
        return config with { LayerWindows = Same(config, Window(json)) };
    }

    private static DecoderConfig Qwen2(ConfigJson json) => WithLayerTypes(json, Common(json) with { QueryKeyValueBias = true });

    private static DecoderConfig Qwen3(ConfigJson json)
    {
        bool attentionBias = json.Flag("attention_bias", false);
        return WithLayerTypes(json, Common(json) with { QueryKeyValueBias = attentionBias, OutputBias = attentionBias, QueryKeyNorm = true });
    }

    private static DecoderConfig Common(ConfigJson json)
    {
        json.RequireOnly("hidden_act", "silu");
        json.RequireOnly("attention_dropout", 0.0);
        json.RequireOnly("partial_rotary_factor", 1.0);
        int hidden = json.Integer("hidden_size");
        int heads = json.Integer("num_attention_heads");
        int layers = json.Integer("num_hidden_layers");
        int maxPositions = json.Integer("max_position_embeddings");
        return new DecoderConfig
        {
            ModelType = json.Text("model_type")!,
            VocabSize = json.Integer("vocab_size"),
            HiddenSize = hidden,
            IntermediateSize = json.Integer("intermediate_size"),
            NumHiddenLayers = layers,
            NumAttentionHeads = heads,
            NumKeyValueHeads = json.Integer("num_key_value_heads", heads),
            HeadDim = json.Integer("head_dim", hidden / heads),
            MaxPositionEmbeddings = maxPositions,
            RmsNormEps = (float)json.Number("rms_norm_eps", 1e-6),
            Rope = RopeReader.Read(json, maxPositions),
            TieWordEmbeddings = json.Flag("tie_word_embeddings", false),
            LayerWindows = new int?[layers],
            BosTokenId = json.Integers("bos_token_id") is [int bos, ..] ? bos : null,
            StoredDTypeName = json.StoredDType(),
            IsQuantized = QuantizationReader.IsNf4(json),
        };
    }

    /// <summary>Qwen names each layer's attention (<c>layer_types</c>), or windows all layers from <c>max_window_layers</c> on.</summary>
    private static DecoderConfig WithLayerTypes(ConfigJson json, DecoderConfig config)
    {
        bool windowed = json.Flag("use_sliding_window", false);
        int? window = windowed ? Window(json) : IgnoreWindow(json);
        int first = json.Integer("max_window_layers", config.NumHiddenLayers);
        if (json.Texts("layer_types") is not { } types)
        {
            return config with { LayerWindows = [.. Enumerable.Range(0, config.NumHiddenLayers).Select(layer => layer >= first ? window : null)] };
        }

        if (types.Count != config.NumHiddenLayers)
        {
            throw json.Error("layer_types", $"has {types.Count} entries for {config.NumHiddenLayers} layers");
        }

        return config with
        {
            LayerWindows = [.. types.Select(type => type switch
            {
                "full_attention" => (int?)null,
                "sliding_attention" => window ?? throw json.Error("layer_types", "asks for sliding_attention without a sliding_window"),
                _ => throw json.Error("layer_types", $"contains '{type}'; full_attention and sliding_attention are supported"),
            })],
        };
    }

    private static int? Window(ConfigJson json) => json.OptionalNumber("sliding_window") is { } size ? (int)size : null;

    /// <summary>Without <c>use_sliding_window</c> the size that stands there has no effect.</summary>
    private static int? IgnoreWindow(ConfigJson json)
    {
        _ = Window(json);
        return null;
    }

    private static IReadOnlyList<int?> Same(DecoderConfig config, int? window) => [.. Enumerable.Repeat(window, config.NumHiddenLayers)];
}
