using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;

namespace Nibble.Cli.Quickstart;

/// <summary>
/// Makes the folder from which the quickstart's base model is pre-trained: a Llama of 1.2 million parameters with random
/// weights, and a byte-level BPE tokenizer of 512 tokens learned from its corpus.
/// </summary>
internal static class BaseModel
{
    private const int VocabSize = 512;
    private const int Hidden = 128;
    private const int Intermediate = 384;
    private const int Layers = 6;
    private const int HeadDim = 32;
    private const int Heads = 4;
    private const int KeyValueHeads = 2;
    private const string EndOfText = "<|end|>";

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    /// <summary>Writes the folder.</summary>
    public static void WriteInitial(string folder, IEnumerable<string> corpus, ulong seed)
    {
        Directory.CreateDirectory(folder);
        Write(folder, "config.json", new JsonObject
        {
            ["architectures"] = new JsonArray("LlamaForCausalLM"),
            ["model_type"] = "llama",
            ["vocab_size"] = VocabSize,
            ["hidden_size"] = Hidden,
            ["intermediate_size"] = Intermediate,
            ["num_hidden_layers"] = Layers,
            ["num_attention_heads"] = Heads,
            ["num_key_value_heads"] = KeyValueHeads,
            ["head_dim"] = HeadDim,
            ["max_position_embeddings"] = 512,
            ["rms_norm_eps"] = 1e-5,
            ["rope_theta"] = 10000.0,
            ["hidden_act"] = "silu",
            ["tie_word_embeddings"] = true,
            ["eos_token_id"] = VocabSize - 1,
            ["torch_dtype"] = "bfloat16",
        });
        Write(folder, "generation_config.json", new JsonObject { ["eos_token_id"] = VocabSize - 1 });
        Write(folder, "tokenizer.json", Tokenizer(corpus));
        Write(folder, "tokenizer_config.json", new JsonObject
        {
            ["eos_token"] = EndOfText,
            ["pad_token"] = EndOfText,
            ["clean_up_tokenization_spaces"] = false,
            ["tokenizer_class"] = "PreTrainedTokenizerFast",
        });
        RandomWeights.Write(folder, seed);
    }

    private static void Write(string folder, string name, JsonObject content) =>
        AtomicFile.WriteText(Path.Combine(folder, name), content.ToJsonString(Indented) + "\n");

    /// <summary>The bytes, as many merges as fit, and the end token.</summary>
    private static JsonObject Tokenizer(IEnumerable<string> corpus)
    {
        string[] alphabet = [.. Enumerable.Range(0, 256).Select(value => PrintableByte((byte)value).ToString())];
        var vocab = new List<string>(alphabet);
        var merges = new List<(string Left, string Right)>();
        Dictionary<string, int> counts = [];
        foreach (string word in corpus.SelectMany(Words))
        {
            counts[word] = counts.GetValueOrDefault(word) + 1;
        }

        List<(List<string> Symbols, int Count)> words = [.. counts.OrderBy(item => item.Key, StringComparer.Ordinal)
            .Select(item => (Encoding.UTF8.GetBytes(item.Key).Select(value => alphabet[value]).ToList(), item.Value))];
        while (vocab.Count < VocabSize - 1)
        {
            (string left, string right) = MostFrequentPair(words);
            merges.Add((left, right));
            vocab.Add(left + right);
            foreach ((List<string> symbols, int _) in words)
            {
                for (int i = 0; i + 1 < symbols.Count; i++)
                {
                    if (symbols[i] == left && symbols[i + 1] == right)
                    {
                        symbols[i] = left + right;
                        symbols.RemoveAt(i + 1);
                    }
                }
            }
        }

        return new JsonObject
        {
            ["version"] = "1.0",
            ["added_tokens"] = new JsonArray(new JsonObject
            {
                ["id"] = VocabSize - 1,
                ["content"] = EndOfText,
                ["single_word"] = false,
                ["lstrip"] = false,
                ["rstrip"] = false,
                ["normalized"] = false,
                ["special"] = true,
            }),
            ["normalizer"] = null,
            ["pre_tokenizer"] = ByteLevel(),
            ["post_processor"] = null,
            ["decoder"] = ByteLevel(),
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["dropout"] = null,
                ["unk_token"] = null,
                ["fuse_unk"] = false,
                ["byte_fallback"] = false,
                ["ignore_merges"] = false,
                ["vocab"] = new JsonObject(vocab.Select((token, id) => KeyValuePair.Create(token, (JsonNode?)id))),
                ["merges"] = new JsonArray([.. merges.Select(merge => (JsonNode)$"{merge.Left} {merge.Right}")]),
            },
        };
    }

    private static JsonObject ByteLevel() => new() { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["trim_offsets"] = true, ["use_regex"] = true };

    private static (string Left, string Right) MostFrequentPair(List<(List<string> Symbols, int Count)> words)
    {
        var pairs = new Dictionary<(string, string), int>();
        foreach ((List<string> symbols, int count) in words)
        {
            for (int i = 0; i + 1 < symbols.Count; i++)
            {
                (string, string) pair = (symbols[i], symbols[i + 1]);
                pairs[pair] = pairs.GetValueOrDefault(pair) + count;
            }
        }

        return pairs.OrderByDescending(item => item.Value).ThenBy(item => item.Key.Item1, StringComparer.Ordinal).ThenBy(item => item.Key.Item2, StringComparer.Ordinal).First().Key;
    }

    /// <summary>Words with the space before them, as GPT-2's pattern cuts them (plainly, for a corpus of plain text).</summary>
    private static IEnumerable<string> Words(string text)
    {
        int start = 0;
        for (int i = 1; i <= text.Length; i++)
        {
            if (i == text.Length || Kind(text[i]) != Kind(text[i - 1]) && !(text[i - 1] == ' ' && i - 1 == start))
            {
                yield return text[start..i];
                start = i;
            }
        }
    }

    private static int Kind(char c) => char.IsLetter(c) ? 0 : char.IsDigit(c) ? 1 : char.IsWhiteSpace(c) ? 2 : 3;

    /// <summary>GPT-2's printable stand-in for a byte.</summary>
    private static char PrintableByte(byte value)
    {
        static bool IsPrintable(int b) => b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
        return (char)(IsPrintable(value) ? value : 256 + Enumerable.Range(0, value).Count(b => !IsPrintable(b)));
    }
}
