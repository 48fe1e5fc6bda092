using System.Text.Json.Nodes;

namespace Nibble.Modeling.Tokenizers;

/// <summary>
/// What a tiktoken file leaves unsaid, because the publishers keep it in code: how text is cut before it is merged, and the
/// special tokens. It is known for these families; that of any other file is refused, never guessed.
/// </summary>
internal sealed record TiktokenFamily
{
    private static readonly TiktokenFamily[] Known =
    [
        new()
        {
            Name = "Llama 3",
            Size = 128_000,
            LongestNumber = 3,
            Composes = false,
            TokenizerClasses = ["LlamaTokenizer", "LlamaTokenizerFast"],
            ModelTypes = ["llama"],
            SpecialTokens = new() { [128_000] = "<|begin_of_text|>", [128_001] = "<|end_of_text|>", [128_006] = "<|start_header_id|>", [128_007] = "<|end_header_id|>", [128_009] = "<|eot_id|>" },
            Before = [128_000],
        },
        new()
        {
            Name = "Qwen",
            Size = 151_643,
            LongestNumber = 1,
            Composes = true,
            TokenizerClasses = ["QWenTokenizer", "Qwen2Tokenizer", "Qwen2TokenizerFast"],
            ModelTypes = ["qwen", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe"],
            SpecialTokens = new() { [151_643] = "<|endoftext|>", [151_644] = "<|im_start|>", [151_645] = "<|im_end|>" },
            Before = [],
        },
    ];

    public required string Name { get; init; }

    /// <summary>Tokens in the file; the special ones come after them.</summary>
    public required int Size { get; init; }

    /// <summary>Digits that make a piece; otherwise the families' patterns are the same.</summary>
    public required int LongestNumber { get; init; }

    /// <summary>Whether text is brought into Unicode's composed form (NFC) first.</summary>
    public required bool Composes { get; init; }

    /// <summary>Special tokens that all of its models have, for folders whose tokenizer_config.json lists none.</summary>
    public required Dictionary<int, string> SpecialTokens { get; init; }

    /// <summary>Tokens before each text.</summary>
    public required int[] Before { get; init; }

    private string[] TokenizerClasses { get; init; } = [];

    private string[] ModelTypes { get; init; } = [];

    /// <summary>The family that tokenizer_config.json names by its class or by its first special token, or else config.json by the model's type.</summary>
    /// <param name="path">The tiktoken file.</param>
    /// <param name="settings">tokenizer_config.json.</param>
    /// <param name="modelType">model_type of config.json, where there is one.</param>
    public static TiktokenFamily Of(string path, JsonObject settings, string? modelType)
    {
        string? tokenizerClass = (string?)settings["tokenizer_class"];
        return Known.FirstOrDefault(family => family.TokenizerClasses.Contains(tokenizerClass))
            ?? Known.FirstOrDefault(family => (string?)(settings["added_tokens_decoder"] as JsonObject)?[$"{family.Size}"]?["content"] == family.SpecialTokens[family.Size])
            ?? Known.FirstOrDefault(family => family.ModelTypes.Contains(modelType))
            ?? throw new InvalidDataException(
                $"{path} does not say how text is cut into pieces; that is known for {string.Join(" and ", Known.Select(family => family.Name))}, "
                + $"which neither tokenizer_config.json (tokenizer_class '{tokenizerClass}', added_tokens_decoder) nor config.json (model_type '{modelType}') names.");
    }
}
