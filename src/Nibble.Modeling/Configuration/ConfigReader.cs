using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Modeling.Configuration;

/// <summary>Reads the <c>config.json</c> and <c>generation_config.json</c> of a Hugging Face folder, in the forms of transformers 4 and 5.</summary>
public static class ConfigReader
{
    /// <summary>Keys that carry no computation, or only defaults of things that the engine decides by itself.</summary>
    private static readonly HashSet<string> Descriptive =
    [
        "architectures", "model_type", "transformers_version", "use_cache", "initializer_range", "pretraining_tp", "name_or_path",
        "bos_token_id", "eos_token_id", "pad_token_id", "unk_token_id", "torch_dtype", "dtype", "max_window_layers", "auto_map",
        "tokenizer_class", "unsloth_version", "output_attentions", "output_hidden_states", "return_dict", "chunk_size_feed_forward",
        "is_encoder_decoder", "is_decoder", "id2label", "label2id", "problem_type", "use_return_dict",
    ];

    /// <summary>Reads and validates the configuration of a model folder.</summary>
    /// <exception cref="InvalidDataException">A key is missing, malformed, or asks for something the decoder cannot do; the message names it.</exception>
    public static DecoderConfig Read(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new DirectoryNotFoundException($"{folder} is not a folder; a model is a folder with config.json and model.safetensors.");
        }

        string path = Path.Combine(folder, "config.json");
        var json = new ConfigJson(path, Parse(path));
        if (json.Text("model_type") is not { } modelType)
        {
            throw json.Error("model_type", "is missing");
        }

        if (!Architectures.All.TryGetValue(modelType, out Architecture? architecture))
        {
            throw json.Error("model_type", $"is '{modelType}', which is not supported; supported are {string.Join(", ", Architectures.All.Keys.Order())}");
        }

        DecoderConfig config = architecture.Read(json);
        json.RequireAllRead(Descriptive);
        string generation = Path.Combine(folder, "generation_config.json");
        IReadOnlyList<int> ends = json.Integers("eos_token_id");
        if (File.Exists(generation))
        {
            ends = [.. new ConfigJson(generation, Parse(generation)).Integers("eos_token_id").Union(ends)];
        }

        return Validate(json, config with { EosTokenIds = ends });
    }

    private static DecoderConfig Validate(ConfigJson json, DecoderConfig config)
    {
        if (config.NumAttentionHeads % config.NumKeyValueHeads != 0)
        {
            throw json.Error("num_key_value_heads", $"is {config.NumKeyValueHeads}, which does not divide num_attention_heads {config.NumAttentionHeads}");
        }

        if (config.HeadDim % 2 != 0)
        {
            throw json.Error("head_dim", $"is {config.HeadDim}; rotary embedding needs an even width");
        }

        return config;
    }

    private static JsonObject Parse(string path)
    {
        if (!File.Exists(path))
        {
            throw new InvalidDataException($"{path} does not exist; a model folder needs it.");
        }

        try
        {
            return JsonNode.Parse(File.ReadAllText(path)) as JsonObject ?? throw new InvalidDataException($"{path} is not a JSON object.");
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{path} is not valid JSON: {exception.Message}", exception);
        }
    }
}
