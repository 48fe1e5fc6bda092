using System.Buffers;
using System.Text;
using System.Text.Json.Nodes;

namespace Nibble.Modeling.Tokenizers;

/// <summary>A token that is recognised in the text before anything else.</summary>
internal sealed record AddedToken(int Id, string Content, bool Special, bool Normalized, bool LeftStrip, bool RightStrip, bool SingleWord)
{
    /// <summary>As tokenizer.json and tokenizer_config.json describe it.</summary>
    public static AddedToken Of(int id, JsonNode item) => new(
        id,
        (string)item["content"]!,
        (bool?)item["special"] ?? false,
        (bool?)item["normalized"] ?? true,
        (bool?)item["lstrip"] ?? false,
        (bool?)item["rstrip"] ?? false,
        (bool?)item["single_word"] ?? false);
}

/// <summary>When the mark of a word's beginning is put before a text.</summary>
internal enum WordMark
{
    /// <summary>Before every stretch between special tokens, as the file says.</summary>
    Always,

    /// <summary>Here, unless the text brings its own space.</summary>
    UnlessSpaced,

    /// <summary>Not here.</summary>
    Never,
}

/// <summary>A step before the text is cut into pieces.</summary>
internal delegate AlignedText Normalizer(AlignedText text, WordMark mark);

/// <summary>A step on the pieces of a text; <paramref name="isFirst"/> tells whether they begin it.</summary>
internal delegate List<AlignedText> PreTokenizer(List<AlignedText> pieces, bool isFirst);

/// <summary>A step on the tokens' texts when they are joined again.</summary>
internal delegate List<string> TokenDecoder(List<string> tokens);

/// <summary>The parts of a tokenizer, from whichever file they were read.</summary>
internal sealed record TokenizerPipeline
{
    /// <summary>All tokens as the vocabulary spells them, added ones included.</summary>
    public required IReadOnlyDictionary<string, int> Tokens { get; init; }

    public required IReadOnlyList<AddedToken> AddedTokens { get; init; }

    public required Normalizer Normalize { get; init; }

    public required PreTokenizer PreTokenize { get; init; }

    public required IWordModel Model { get; init; }

    /// <summary>Special tokens around a text: those before it and those after it.</summary>
    public required (int[] Before, int[] After) Template { get; init; }

    public required TokenDecoder Decode { get; init; }
}

/// <summary>Finds added tokens in a text: the longest at the leftmost place.</summary>
internal sealed class AddedTokenMatcher
{
    private readonly AddedToken[] longestFirst;
    private readonly SearchValues<string> contents;

    public AddedTokenMatcher(IEnumerable<AddedToken> tokens)
    {
        longestFirst = [.. tokens.Where(token => token.Content.Length > 0).OrderByDescending(token => token.Content.Length)];
        contents = SearchValues.Create([.. longestFirst.Select(token => token.Content)], StringComparison.Ordinal);
    }

    /// <summary>Cuts a text into stretches and the tokens between them, in order.</summary>
    public IEnumerable<(int Start, int End, AddedToken? Token)> Split(string text)
    {
        int last = 0;
        for (int i = 0; i < text.Length;)
        {
            int next = text.AsSpan(i).IndexOfAny(contents);
            if (next < 0)
            {
                break;
            }

            i += next;
            AddedToken? token = longestFirst.FirstOrDefault(candidate => IsAt(text, i, candidate));
            if (token is null)
            {
                i++;
                continue;
            }

            int start = token.LeftStrip ? last + text.AsSpan(last, i - last).TrimEnd().Length : i;
            int end = i + token.Content.Length;
            if (token.RightStrip)
            {
                end = text.Length - text.AsSpan(end).TrimStart().Length;
            }

            if (start > last)
            {
                yield return (last, start, null);
            }

            yield return (start, end, token);
            (last, i) = (end, end);
        }

        if (last < text.Length)
        {
            yield return (last, text.Length, null);
        }
    }

    private static bool IsAt(string text, int index, AddedToken token)
    {
        if (string.CompareOrdinal(text, index, token.Content, 0, token.Content.Length) != 0)
        {
            return false;
        }

        int end = index + token.Content.Length;
        return !token.SingleWord || ((index == 0 || !IsWord(text[index - 1])) && (end == text.Length || !IsWord(text[end])));
    }

    private static bool IsWord(char c) => char.IsLetterOrDigit(c) || c == '_';
}

/// <summary>The decoders that tokenizer.json files name.</summary>
internal static class TokenDecoders
{
    /// <summary>Joins the bytes of byte-level tokens.</summary>
    public static List<string> ByteLevel(List<string> tokens)
    {
        var bytes = new List<byte>();
        foreach (string token in tokens)
        {
            bytes.AddRange(ByteAlphabet.Read(token));
        }

        return [Encoding.UTF8.GetString([.. bytes])];
    }

    /// <summary>Joins runs of <c>&lt;0xAB&gt;</c> tokens; a run that is not UTF-8 becomes one replacement character a byte.</summary>
    public static List<string> ByteFallback(List<string> tokens)
    {
        var result = new List<string>();
        var bytes = new List<byte>();

        void Flush()
        {
            if (bytes.Count == 0)
            {
                return;
            }

            try
            {
                result.Add(new UTF8Encoding(false, throwOnInvalidBytes: true).GetString([.. bytes]));
            }
            catch (DecoderFallbackException)
            {
                result.AddRange(Enumerable.Repeat("\ufffd", bytes.Count));
            }

            bytes.Clear();
        }

        foreach (string token in tokens)
        {
            if (token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
                && byte.TryParse(token.AsSpan(3, 2), System.Globalization.NumberStyles.AllowHexSpecifier, null, out byte value))
            {
                bytes.Add(value);
                continue;
            }

            Flush();
            result.Add(token);
        }

        Flush();
        return result;
    }

    public static TokenDecoder Replace(string pattern, string content) => tokens => [.. tokens.Select(token => token.Replace(pattern, content, StringComparison.Ordinal))];

    public static List<string> Fuse(List<string> tokens) => [string.Concat(tokens)];

    /// <summary>Takes up to so many of a character off both ends of each token.</summary>
    public static TokenDecoder Strip(char content, int start, int stop) => tokens =>
    [
        .. tokens.Select(token =>
        {
            int first = 0;
            while (first < start && first < token.Length && token[first] == content)
            {
                first++;
            }

            int end = token.Length;
            while (token.Length - end < stop && end > first && token[end - 1] == content)
            {
                end--;
            }

            return token[first..end];
        }),
    ];

    /// <summary>Metaspace: the replacement stands for a space, and the first token's for none where one was prepended.</summary>
    public static TokenDecoder Metaspace(string replacement, bool prepended) => tokens =>
    [
        .. tokens.Select((token, index) =>
            (prepended && index == 0 && token.StartsWith(replacement, StringComparison.Ordinal) ? token[replacement.Length..] : token)
                .Replace(replacement, " ", StringComparison.Ordinal)),
    ];
}
