using System.Text.Json.Nodes;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;

namespace Nibble.Modeling.Tests.Tokenizers;

/// <summary>Real vocabularies against encodings that other people published and that Hugging Face's Rust library made.</summary>
public class TokenizerVectorTests
{
    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama2")]
    [InlineData("llama3")]
    [InlineData("pythia")]
    [InlineData("qwen2")]
    public void Hard_strings_encode_decode_and_align_as_the_rust_library_does(string name) =>
        MatchHardStrings(HfTokenizer.FromPretrained(SharedFolder.Path("vectors", "tokenizers", name)), name);

    internal static void MatchHardStrings(HfTokenizer tokenizer, string name)
    {
        JsonNode vectors = JsonNode.Parse(File.ReadAllText(SharedFolder.Path("vectors", "tokenizers", name, "fuzz_rust_public.json")))!;
        var failures = new List<string>();
        foreach (JsonNode? item in vectors["cases"]!.AsArray())
        {
            string text = (string)item!["text"]!;
            int[] ids = Ints(item["ids"]);
            List<TokenSpan> tokens = tokenizer.EncodeWithOffsets(text, addSpecialTokens: false);
            if (!tokens.Select(token => token.Id).SequenceEqual(ids))
            {
                failures.Add($"{Show(text)}: {string.Join(',', tokens.Select(token => token.Id))}, expected {string.Join(',', ids)}");
            }
            else if (item["offsets_codepoints"] is JsonArray offsets)
            {
                string expected = string.Join(' ', offsets.Select(pair => $"{pair![0]}-{pair[1]}"));
                string found = string.Join(' ', tokens.Select(token => $"{CodePoints(text, token.Start)}-{CodePoints(text, token.End)}"));
                if (expected != found)
                {
                    failures.Add($"offsets of {Show(text)}: {found}, expected {expected}");
                }
            }

            foreach ((string key, bool skip) in new[] { ("decoded_with_special", false), ("decoded_skip_special", true) })
            {
                if (tokenizer.Decode(ids, skip) is var decoded && decoded != (string)item[key]!)
                {
                    failures.Add($"{key} of {Show(text)}: {Show(decoded)}, expected {Show((string)item[key]!)}");
                }
            }
        }

        Assert.True(failures.Count == 0, $"{failures.Count} differ:\n{string.Join('\n', failures.Take(12))}");
    }

    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama2")]
    [InlineData("llama3")]
    [InlineData("qwen2")]
    public void Third_party_encodings_are_matched_to_the_id(string name) =>
        MatchThirdParties(HfTokenizer.FromPretrained(SharedFolder.Path("vectors", "tokenizers", name)), name);

    internal static void MatchThirdParties(HfTokenizer tokenizer, string name)
    {
        JsonNode vectors = JsonNode.Parse(File.ReadAllText(SharedFolder.Path("vectors", "tokenizers", name, "vectors.json")))!;
        foreach (JsonNode? group in vectors["groups"]!.AsArray())
        {
            foreach (JsonNode? item in group!["cases"]!.AsArray())
            {
                string text = (string)item!["text"]!;
                Assert.Equal(Ints(item["ids"]), tokenizer.Encode(text, (bool)group["add_special_tokens"]!));
                if (item["decoded_with_special"] is { } decoded)
                {
                    string found = tokenizer.Decode(Ints(item["ids"]), skipSpecialTokens: false);
                    Assert.Equal((string)decoded!, tokenizer.CleansUpSpaces ? HfTokenizer.CleanUpSpaces(found) : found);
                }
            }
        }
    }

    [Theory]
    [InlineData("hf")]
    [InlineData("hf_v5_sharded")]
    public void Stories_are_encoded_as_the_models_author_does(string variant)
    {
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(SharedFolder.Path("models", "stories260K", variant));
        JsonNode reference = JsonNode.Parse(File.ReadAllText(SharedFolder.Path("models", "stories260K", "reference", "reference.json")))!;
        foreach (JsonNode? item in reference["greedy"]!.AsArray().Where(item => ((string)item!["prompt"]!).Length > 0))
        {
            Assert.Equal(Ints(item!["prompt_ids"]), tokenizer.Encode((string)item["prompt"]!, addSpecialTokens: true));
        }
    }

    [Theory]
    [InlineData("models", "stories260K", "hf")]
    [InlineData("vectors", "tokenizers", "llama2")]
    public void A_sentencepiece_model_encodes_plain_text_like_its_tokenizer_json(params string[] folder)
    {
        using var copy = new TempFolder();
        File.WriteAllBytes(copy["tokenizer.model"], File.ReadAllBytes(Path.Combine(SharedFolder.Path(folder), "tokenizer.model")));
        HfTokenizer fromModel = HfTokenizer.FromPretrained(copy.Path);
        HfTokenizer fromJson = HfTokenizer.FromPretrained(SharedFolder.Path(folder));
        string[] lines = [.. File.ReadLines(SharedFolder.Path("data", "text", "tinyshakespeare.txt")).Select(line => line.Trim()).Where(line => line.Length > 0).Take(2000)];
        Assert.All(lines, line => Assert.Equal(fromJson.Encode(line, true), fromModel.Encode(line, true)));
    }

    [Fact]
    public void A_lone_surrogate_is_the_replacement_character_and_its_neighbours_are_still_composed()
    {
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(SharedFolder.Path("vectors", "tokenizers", "qwen2"));
        Assert.Equal(tokenizer.Encode("caf\u00e9 \ufffd", false), tokenizer.Encode("cafe\u0301 \ud800", false));
    }

    internal static int[] Ints(JsonNode? node) => [.. node!.AsArray().Select(value => (int)value!)];

    private static int CodePoints(string text, int units) => text[..units].EnumerateRunes().Count();

    private static string Show(string text) => string.Concat(text.Select(c => c is >= ' ' and <= '~' ? c.ToString() : $"\\u{(int)c:x4}"));
}
