using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Modeling.Tokenizers;

/// <summary>Reads tokenizer.json, the format of Hugging Face's tokenizers; a component it does not know is refused by name.</summary>
internal static class TokenizerJson
{
    private const string Gpt2Pattern = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    private static readonly Dictionary<string, Func<Splitter>> KnownPatterns = new()
    {
        [Gpt2Pattern] = () => new Gpt2Splitter(),
        [Llama3Pattern(@"\p{N}{1,3}")] = () => new Llama3Splitter(3),
        [Llama3Pattern(@"\p{N}")] = () => new Llama3Splitter(1),
    };

    public static TokenizerPipeline Read(string path)
    {
        try
        {
            JsonObject json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
            JsonObject model = json["model"] as JsonObject ?? throw new FormatException("has no 'model'");
            string? type = (string?)model["type"];
            if (type is not (null or "BPE") || model["merges"] is null)
            {
                throw new FormatException($"has a model of type '{type ?? "unknown"}'; BPE is supported");
            }

            bool byteLevel = Components(json["pre_tokenizer"], "pretokenizers").Any(item => TypeOf(item) == "ByteLevel");
            BpeVocabulary vocabulary = Vocabulary(model);
            List<AddedToken> added = AddedTokens(json);
            foreach (AddedToken token in added)
            {
                vocabulary.Tokens.TryAdd(token.Content, token.Id);
            }

            List<PreTokenizer> cuts = [.. Components(json["pre_tokenizer"], "pretokenizers").Select(PreTokenizer)];
            if (!byteLevel)
            {
                cuts.Add(Cut(new WordSplitter(vocabulary)));
            }

            return new TokenizerPipeline
            {
                Tokens = vocabulary.Tokens,
                AddedTokens = added,
                Normalize = Chain([.. Components(json["normalizer"], "normalizers").Select(Normalizer)]),
                PreTokenize = Chain([.. cuts]),
                Model = new BpeModel(vocabulary, byteLevel),
                Template = Template(json["post_processor"]),
                Decode = Chain([.. Components(json["decoder"], "decoders").Select(Decoder)]),
            };
        }
        catch (Exception exception) when (exception is JsonException or FormatException or InvalidOperationException or NullReferenceException
            or KeyNotFoundException or OverflowException or ArgumentException)
        {
            throw new InvalidDataException($"{path}: {(exception is FormatException ? exception.Message : $"is not a valid tokenizer ({exception.Message})")}.", exception);
        }
    }

    private static string Llama3Pattern(string number) =>
        $@"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{number}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private static BpeVocabulary Vocabulary(JsonObject model)
    {
        foreach (string key in new[] { "continuing_subword_prefix", "end_of_word_suffix" })
        {
            if (!string.IsNullOrEmpty((string?)model[key]))
            {
                throw new FormatException($"has model.{key}, which is not supported");
            }
        }

        if (model["dropout"] is JsonValue dropout && (double)dropout != 0)
        {
            throw new FormatException("has model.dropout, which would make encoding random");
        }

        var tokens = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach ((string token, JsonNode? id) in model["vocab"]!.AsObject())
        {
            tokens[token] = (int)id!;
        }

        var merges = new Dictionary<long, (int, int)>();
        int rank = 0;
        foreach (JsonNode? merge in model["merges"]!.AsArray())
        {
            string[] sides = merge is JsonArray pair ? [(string)pair[0]!, (string)pair[1]!] : ((string)merge!).Split(' ');
            if (sides.Length != 2 || !tokens.TryGetValue(sides[0], out int left) || !tokens.TryGetValue(sides[1], out int right)
                || !tokens.TryGetValue(sides[0] + sides[1], out int joined))
            {
                throw new FormatException($"has merge {rank} ('{string.Join(' ', sides)}') of tokens that are not in the vocabulary");
            }

            merges.TryAdd(BpeMerger.Key(left, right), (rank++, joined));
        }

        return new BpeVocabulary
        {
            Tokens = tokens,
            Merges = merges,
            UnknownToken = (string?)model["unk_token"],
            FuseUnknown = (bool?)model["fuse_unk"] ?? false,
            ByteFallback = (bool?)model["byte_fallback"] ?? false,
            IgnoreMerges = (bool?)model["ignore_merges"] ?? false,
        };
    }

    private static List<AddedToken> AddedTokens(JsonObject json) =>
        [.. (json["added_tokens"] as JsonArray ?? []).Select(item => AddedToken.Of((int)item!["id"]!, item))];

    /// <summary>A component or, for a Sequence, its parts.</summary>
    private static IEnumerable<JsonObject> Components(JsonNode? node, string parts) => node switch
    {
        null => [],
        JsonObject item when TypeOf(item) == "Sequence" => item[parts]!.AsArray().SelectMany(part => Components(part, parts)),
        _ => [node.AsObject()],
    };

    private static string TypeOf(JsonObject component) => (string?)component["type"] ?? "";

    private static Normalizer Normalizer(JsonObject item) => TypeOf(item) switch
    {
        "NFC" => (text, _) => text.Normalize(NormalizationForm.FormC),
        "NFD" => (text, _) => text.Normalize(NormalizationForm.FormD),
        "NFKC" => (text, _) => text.Normalize(NormalizationForm.FormKC),
        "NFKD" => (text, _) => text.Normalize(NormalizationForm.FormKD),
        "Prepend" => Prepend((string)item["prepend"]!),
        "Replace" => Replace((string?)item["pattern"]!["String"] ?? throw new FormatException("has a Replace normalizer with a regular expression, which is not supported"), (string)item["content"]!),
        string type => throw new FormatException($"has the normalizer '{type}', which is not supported"),
    };

    private static Normalizer Prepend(string prefix) => (text, mark) => mark switch
    {
        _ when text.Length == 0 => text,
        WordMark.Never => text,
        WordMark.UnlessSpaced when text.Span.StartsWith(' ') => text,
        _ => text.Prepend(prefix),
    };

    private static Normalizer Replace(string pattern, string content) => (text, _) => text.Replace(pattern, content);

    private static PreTokenizer PreTokenizer(JsonObject item)
    {
        switch (TypeOf(item))
        {
            case "ByteLevel":
                bool prefix = (bool?)item["add_prefix_space"] ?? true;
                PreTokenizer spaced = (pieces, _) => prefix ? [.. pieces.Select(piece => piece.Span.StartsWith(' ') ? piece : piece.Prepend(" "))] : pieces;
                return (bool?)item["use_regex"] ?? true ? Chain([spaced, Cut(new Gpt2Splitter())]) : spaced;
            case "Metaspace":
                return Metaspace(item);
            case "Digits":
                return Cut(new DigitSplitter((bool?)item["individual_digits"] ?? false));
            case "Split":
                if ((string?)item["behavior"] != "Isolated" || ((bool?)item["invert"] ?? false))
                {
                    throw new FormatException($"has a Split with behavior '{item["behavior"]}' and invert {item["invert"]}; Isolated without invert is supported");
                }

                string pattern = (string?)item["pattern"]!["Regex"] ?? System.Text.RegularExpressions.Regex.Escape((string)item["pattern"]!["String"]!);
                return Cut(KnownPatterns.TryGetValue(pattern, out Func<Splitter>? known) ? known() : new RegexSplitter(pattern));
            default:
                throw new FormatException($"has the pre-tokenizer '{TypeOf(item)}', which is not supported");
        }
    }

    private static PreTokenizer Metaspace(JsonObject item)
    {
        string replacement = (string?)item["replacement"] ?? "\u2581";
        string scheme = (string?)item["prepend_scheme"] ?? ((bool?)item["add_prefix_space"] ?? true ? "always" : "never");
        bool split = (bool?)item["split"] ?? true;
        return (pieces, isFirst) =>
        {
            IEnumerable<AlignedText> marked = pieces.Select((piece, index) =>
            {
                AlignedText replaced = piece.Replace(" ", replacement);
                bool prepend = scheme == "always" || (scheme == "first" && isFirst && index == 0);
                return prepend && !replaced.Span.StartsWith(replacement, StringComparison.Ordinal) ? replaced.Prepend(replacement) : replaced;
            });
            return split ? [.. marked.SelectMany(piece => WordsOf(piece, replacement[0]))] : [.. marked];
        };
    }

    /// <summary>Pieces that begin with the marker.</summary>
    private static IEnumerable<AlignedText> WordsOf(AlignedText text, char marker)
    {
        int start = 0;
        for (int i = 1; i <= text.Length; i++)
        {
            if (i == text.Length || text.Span[i] == marker)
            {
                yield return text.Slice(start, i - start);
                start = i;
            }
        }
    }

    private static PreTokenizer Cut(Splitter splitter) => (pieces, _) => splitter.Cut(pieces);

    private static (int[] Before, int[] After) Template(JsonNode? node)
    {
        (int[], int[]) template = ([], []);
        foreach (JsonObject item in Components(node, "processors"))
        {
            switch (TypeOf(item))
            {
                case "ByteLevel":
                    break; // Only trims offsets.
                case "TemplateProcessing":
                    template = Single(item);
                    break;
                case string type:
                    throw new FormatException($"has the post-processor '{type}', which is not supported");
            }
        }

        return template;
    }

    private static (int[] Before, int[] After) Single(JsonObject item)
    {
        (List<int> before, List<int> after) = ([], []);
        bool seen = false;
        foreach (JsonNode? part in item["single"]!.AsArray())
        {
            if (part!["SpecialToken"] is { } special)
            {
                string name = (string)special["id"]!;
                (seen ? after : before).AddRange(item["special_tokens"]![name]!["ids"]!.AsArray().Select(id => (int)id!));
            }
            else
            {
                seen = true;
            }
        }

        return ([.. before], [.. after]);
    }

    private static TokenDecoder Decoder(JsonObject item) => TypeOf(item) switch
    {
        "ByteLevel" => TokenDecoders.ByteLevel,
        "ByteFallback" => TokenDecoders.ByteFallback,
        "Fuse" => TokenDecoders.Fuse,
        "Replace" => TokenDecoders.Replace(
            (string?)item["pattern"]!["String"] ?? throw new FormatException("has a Replace decoder with a regular expression, which is not supported"), (string)item["content"]!),
        "Strip" => TokenDecoders.Strip(((string)item["content"]!)[0], (int)item["start"]!, (int)item["stop"]!),
        "Metaspace" => TokenDecoders.Metaspace((string?)item["replacement"] ?? "\u2581", (string?)item["prepend_scheme"] != "never"),
        string type => throw new FormatException($"has the decoder '{type}', which is not supported"),
    };

    private static Normalizer Chain(Normalizer[] steps) => (text, mark) => steps.Aggregate(text, (current, step) => step(current, mark));

    private static PreTokenizer Chain(PreTokenizer[] steps) => (pieces, isFirst) => steps.Aggregate(pieces, (current, step) => step(current, isFirst));

    private static TokenDecoder Chain(TokenDecoder[] steps) => tokens => steps.Aggregate(tokens, (current, step) => step(current));
}
