using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.ML.Tokenizers;

namespace Nibble.Modeling.Tokenizers;

/// <summary>
/// The tokenizer of a Hugging Face folder, equal to the id to Hugging Face's own; plugs into Microsoft.ML.Tokenizers as one
/// more <see cref="Tokenizer"/>. Safe for use by several threads.
/// </summary>
public sealed class HfTokenizer : Tokenizer
{
    private readonly TokenizerPipeline pipeline;
    private readonly WordCache words;
    private readonly AddedTokenMatcher raw;
    private readonly AddedTokenMatcher normalized;
    private readonly Dictionary<int, string> texts;
    private readonly HashSet<int> special;
    private readonly bool rebuiltByTransformers;

    private HfTokenizer(TokenizerPipeline pipeline, JsonObject settings)
    {
        this.pipeline = pipeline;
        words = new WordCache(pipeline.Model);
        raw = new AddedTokenMatcher(pipeline.AddedTokens.Where(token => !token.Normalized));
        // Such tokens are looked for in normalised text, so what is looked for is their normalised content.
        normalized = new AddedTokenMatcher(pipeline.AddedTokens.Where(token => token.Normalized)
            .Select(token => token with { Content = pipeline.Normalize(AlignedText.Of(token.Content, 0, token.Content.Length), WordMark.Always).Value }));
        texts = [];
        foreach ((string token, int id) in pipeline.Tokens)
        {
            texts.TryAdd(id, token);
        }

        special = [.. pipeline.AddedTokens.Where(token => token.Special).Select(token => token.Id)];
        VocabSize = texts.Keys.Max() + 1;
        BosId = IdOf(settings, "bos_token");
        EosId = IdOf(settings, "eos_token");
        PadId = IdOf(settings, "pad_token");
        UnkId = IdOf(settings, "unk_token");
        ChatTemplate = Template(settings["chat_template"]);
        rebuiltByTransformers = ((string?)settings["tokenizer_class"])?.StartsWith("LlamaTokenizer", StringComparison.Ordinal) == true
            && (bool?)settings["legacy"] != true;
        CleansUpSpaces = (bool?)settings["clean_up_tokenization_spaces"] ?? true;
    }

    /// <summary>First token of a text, where the tokenizer has one.</summary>
    public int? BosId { get; }

    /// <summary>Token that ends a text.</summary>
    public int? EosId { get; }

    /// <summary>Token that fills.</summary>
    public int? PadId { get; }

    /// <summary>Token of what is not in the vocabulary.</summary>
    public int? UnkId { get; }

    /// <summary>Largest token id, plus one.</summary>
    public int VocabSize { get; }

    /// <summary>The chat template (Jinja) of the folder, or null.</summary>
    public string? ChatTemplate { get; }

    /// <summary>Whether transformers 4, reading this folder, would call <see cref="CleanUpSpaces"/> on what it decodes.</summary>
    public bool CleansUpSpaces { get; }

    /// <summary>
    /// Reads tokenizer.json, or where there is none tokenizer.model (SentencePiece's or tiktoken's format) or the tiktoken file,
    /// with the settings beside it.
    /// </summary>
    /// <exception cref="InvalidDataException">The files are missing, damaged, or need something that is not supported; the message names it.</exception>
    public static HfTokenizer FromPretrained(string folder)
    {
        RequireNormalization();
        string path = FileOf(folder) ?? throw new InvalidDataException($"{folder} has no tokenizer: neither tokenizer.json, tokenizer.model nor a tiktoken file.");
        JsonObject settings = Settings(folder);
        TokenizerPipeline pipeline = Path.GetExtension(path) == ".json" ? TokenizerJson.Read(path)
            : TiktokenFile.IsAt(path) ? TiktokenFile.Read(path, settings, (string?)ReadObject(Path.Combine(folder, "config.json"))["model_type"])
            : SentencePieceModel.Read(path);
        return new HfTokenizer(pipeline, settings);
    }

    /// <summary>The file that <see cref="FromPretrained"/> reads, or null.</summary>
    internal static string? FileOf(string folder)
    {
        string json = Path.Combine(folder, "tokenizer.json");
        string model = Path.Combine(folder, "tokenizer.model");
        return File.Exists(json) ? json : File.Exists(model) ? model : TiktokenFile.In(folder);
    }

    /// <summary>The tokens of a text.</summary>
    /// <param name="text">The text; special tokens in it are recognised.</param>
    /// <param name="addSpecialTokens">Whether those of the template (usually the first token) are added.</param>
    public int[] Encode(string text, bool addSpecialTokens) => [.. EncodeWithOffsets(text, addSpecialTokens).Select(token => token.Id)];

    /// <summary>The tokens of a text with the parts that they stand for.</summary>
    /// <param name="text">The text.</param>
    /// <param name="addSpecialTokens">As in <see cref="Encode"/>.</param>
    /// <param name="likeTransformers">
    /// transformers 5 rebuilds the pipeline of Llama's tokenizer class and marks a word's beginning only at the start of the
    /// text, not after each special token, whatever tokenizer.json says. Chats are encoded so; for other classes it is the same.
    /// </param>
    public List<TokenSpan> EncodeWithOffsets(string text, bool addSpecialTokens, bool likeTransformers = false)
    {
        ArgumentNullException.ThrowIfNull(text);
        bool rebuilt = likeTransformers && rebuiltByTransformers;
        var tokens = new List<TokenSpan>();
        if (addSpecialTokens)
        {
            tokens.AddRange(pipeline.Template.Before.Select(id => new TokenSpan(id, 0, 0)));
        }

        foreach ((int start, int end, AddedToken? token) in raw.Split(text))
        {
            if (token is not null)
            {
                tokens.Add(new TokenSpan(token.Id, start, end));
                continue;
            }

            AlignedText segment = pipeline.Normalize(
                AlignedText.Of(text, start, end), !rebuilt ? WordMark.Always : start == 0 ? WordMark.UnlessSpaced : WordMark.Never);
            foreach ((int from, int to, AddedToken? added) in normalized.Split(segment.Value))
            {
                if (added is not null)
                {
                    (int first, int last) = segment.Origin(from, to);
                    tokens.Add(new TokenSpan(added.Id, first, last));
                    continue;
                }

                EncodePieces(from == 0 && to == segment.Length ? segment : segment.Slice(from, to - from), start == 0 && from == 0, tokens);
            }
        }

        if (addSpecialTokens)
        {
            tokens.AddRange(pipeline.Template.After.Select(id => new TokenSpan(id, text.Length, text.Length)));
        }

        return tokens;
    }

    /// <summary>The text of tokens.</summary>
    /// <param name="ids">The tokens; unknown ids stand for nothing.</param>
    /// <param name="skipSpecialTokens">Whether special tokens are left out.</param>
    public string Decode(IEnumerable<int> ids, bool skipSpecialTokens) => string.Concat(pipeline.Decode(
        [.. ids.Where(id => !(skipSpecialTokens && special.Contains(id))).Select(id => texts.GetValueOrDefault(id)).OfType<string>()]));

    /// <summary>Takes out the spaces before English punctuation and contractions, as transformers 4 does after decoding.</summary>
    public static string CleanUpSpaces(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string[] rules = [" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're"];
        return rules.Aggregate(text, (current, rule) => current.Replace(rule, rule.Trim(), StringComparison.Ordinal));
    }

    /// <summary>Whether a token is special.</summary>
    public bool IsSpecial(int id) => special.Contains(id);

    /// <summary>A token as the vocabulary spells it, or null.</summary>
    public string? IdToToken(int id) => texts.GetValueOrDefault(id);

    /// <summary>The id of a token as the vocabulary spells it, or null.</summary>
    public int? TokenToId(string token) => pipeline.Tokens.TryGetValue(token, out int id) ? id : null;

    /// <inheritdoc/>
    public override OperationStatus Decode(IEnumerable<int> ids, Span<char> destination, out int idsConsumed, out int charsWritten)
    {
        int[] all = [.. ids];
        string text = Decode(all, skipSpecialTokens: false);
        (idsConsumed, charsWritten) = (0, 0);
        if (!text.TryCopyTo(destination))
        {
            return OperationStatus.DestinationTooSmall;
        }

        (idsConsumed, charsWritten) = (all.Length, text.Length);
        return OperationStatus.Done;
    }

    /// <inheritdoc/>
    protected override EncodeResults<EncodedToken> EncodeToTokens(string? text, ReadOnlySpan<char> textSpan, EncodeSettings settings)
    {
        text ??= textSpan.ToString();
        IEnumerable<TokenSpan> tokens = EncodeWithOffsets(text, addSpecialTokens: false).Take(settings.MaxTokenCount);
        EncodedToken[] encoded = [.. tokens.Select(token => new EncodedToken(token.Id, texts[token.Id], token.Start..token.End))];
        return new EncodeResults<EncodedToken> { Tokens = encoded, CharsConsumed = encoded.Length == 0 ? 0 : encoded[^1].Offset.End.Value };
    }

    private static void RequireNormalization()
    {
        if ("e\u0301".Normalize() != "\u00e9")
        {
            throw new InvalidDataException(
                "Unicode normalisation is off in this process (InvariantGlobalization, or no ICU library); tokens would silently be wrong. Install libicu or unset DOTNET_SYSTEM_GLOBALIZATION_INVARIANT.");
        }
    }

    /// <summary>tokenizer_config.json, with what older folders keep in files of their own.</summary>
    private static JsonObject Settings(string folder)
    {
        JsonObject settings = ReadObject(Path.Combine(folder, "tokenizer_config.json"));
        foreach ((string key, JsonNode? value) in ReadObject(Path.Combine(folder, "special_tokens_map.json")))
        {
            settings[key] ??= value?.DeepClone();
        }

        if (File.Exists(Path.Combine(folder, "chat_template.jinja")))
        {
            settings["chat_template"] = File.ReadAllText(Path.Combine(folder, "chat_template.jinja"));
        }
        else if (ReadObject(Path.Combine(folder, "chat_template.json"))["chat_template"] is { } template)
        {
            settings["chat_template"] = template.DeepClone();
        }

        return settings;
    }

    private static JsonObject ReadObject(string path)
    {
        try
        {
            return File.Exists(path) ? JsonNode.Parse(File.ReadAllText(path)) as JsonObject ?? [] : [];
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{path} is not valid JSON: {exception.Message}", exception);
        }
    }

    /// <summary>One template, or of a list of named ones the default.</summary>
    private static string? Template(JsonNode? node) => node switch
    {
        JsonValue value => (string?)value,
        JsonArray named => (string?)named.FirstOrDefault(item => (string?)item?["name"] == "default")?["template"],
        _ => null,
    };

    private int? IdOf(JsonObject settings, string key)
    {
        string? token = settings[key] switch
        {
            JsonValue value => (string?)value,
            JsonObject item => (string?)item["content"],
            _ => null,
        };
        return token is null ? null : TokenToId(token);
    }

    private void EncodePieces(AlignedText segment, bool isFirst, List<TokenSpan> tokens)
    {
        foreach (AlignedText piece in pipeline.PreTokenize([segment], isFirst))
        {
            foreach (BpeMerger.Symbol symbol in words.Encode(piece.Span))
            {
                (int start, int end) = piece.Origin(symbol.Start, symbol.End);
                tokens.Add(new TokenSpan(symbol.Id, start, end));
            }
        }
    }
}
