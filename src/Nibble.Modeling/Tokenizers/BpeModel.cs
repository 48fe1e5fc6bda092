using System.Collections.Concurrent;
using System.Globalization;
using System.Text;

namespace Nibble.Modeling.Tokenizers;

/// <summary>What a BPE vocabulary is read into, from tokenizer.json or tokenizer.model.</summary>
internal sealed record BpeVocabulary
{
    public required Dictionary<string, int> Tokens { get; init; }

    public required Dictionary<long, (int Rank, int Id)> Merges { get; init; }

    public string? UnknownToken { get; init; }

    public bool FuseUnknown { get; init; }

    /// <summary>Characters outside the vocabulary become the tokens of their bytes.</summary>
    public bool ByteFallback { get; init; }

    /// <summary>Pieces that are tokens as a whole are not merged.</summary>
    public bool IgnoreMerges { get; init; }
}

/// <summary>Turns pieces of text into tokens.</summary>
internal sealed class BpeModel
{
    private const int LongestCached = 64;
    private const int MostCached = 200_000;

    private readonly BpeVocabulary vocabulary;
    private readonly BpeMerger merger;
    private readonly bool byteLevel;
    private readonly int[] byteIds;
    private readonly int? unknown;
    private readonly bool wordsAreSeparate;
    private readonly ConcurrentDictionary<string, BpeMerger.Symbol[]> cache = new();

    public BpeModel(BpeVocabulary vocabulary, bool byteLevel)
    {
        this.vocabulary = vocabulary;
        this.byteLevel = byteLevel;
        merger = new BpeMerger(vocabulary.Merges);
        byteIds = [.. Enumerable.Range(0, 256).Select(value => vocabulary.Tokens.GetValueOrDefault(
            byteLevel ? ByteAlphabet.CharacterOf((byte)value).ToString() : string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>"), -1))];
        unknown = vocabulary.UnknownToken is { } token && vocabulary.Tokens.TryGetValue(token, out int id) ? id : null;
        // Where no token continues past a word's end, words cannot merge with each other and can be looked up one by one.
        wordsAreSeparate = !byteLevel && !vocabulary.Tokens.Keys.Any(HasInnerBoundary);
    }

    /// <summary>Adds the tokens of a piece; their spans are units of the piece.</summary>
    public void Encode(ReadOnlySpan<char> piece, int offset, List<BpeMerger.Symbol> output)
    {
        if (!wordsAreSeparate)
        {
            EncodeWord(piece, offset, output);
            return;
        }

        int start = 0;
        for (int i = 1; i <= piece.Length; i++)
        {
            if (i == piece.Length || (piece[i] == '\u2581' && piece[i - 1] != '\u2581'))
            {
                EncodeWord(piece[start..i], offset + start, output);
                start = i;
            }
        }
    }

    private static bool HasInnerBoundary(string token)
    {
        for (int i = 1; i < token.Length; i++)
        {
            if (token[i] == '\u2581' && token[i - 1] != '\u2581')
            {
                return true;
            }
        }

        return false;
    }

    private void EncodeWord(ReadOnlySpan<char> word, int offset, List<BpeMerger.Symbol> output)
    {
        if (!cache.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(word, out BpeMerger.Symbol[]? symbols))
        {
            symbols = [.. Tokens(word)];
            if (word.Length <= LongestCached)
            {
                if (cache.Count >= MostCached)
                {
                    cache.Clear();
                }

                cache.TryAdd(word.ToString(), symbols);
            }
        }

        foreach (BpeMerger.Symbol symbol in symbols)
        {
            output.Add(new BpeMerger.Symbol(symbol.Id, symbol.Start + offset, symbol.End + offset));
        }
    }

    private List<BpeMerger.Symbol> Tokens(ReadOnlySpan<char> word)
    {
        if (word.Length == 0)
        {
            return [];
        }

        if (vocabulary.IgnoreMerges)
        {
            string token = byteLevel ? ByteAlphabet.Write(Encoding.UTF8.GetBytes(word.ToString())) : word.ToString();
            if (vocabulary.Tokens.TryGetValue(token, out int id))
            {
                return [new(id, 0, word.Length)];
            }
        }

        return merger.Merge(byteLevel ? Bytes(word) : Characters(word));
    }

    /// <summary>One symbol a byte; all bytes of a character span that character.</summary>
    private List<BpeMerger.Symbol> Bytes(ReadOnlySpan<char> word)
    {
        var symbols = new List<BpeMerger.Symbol>(word.Length + 8);
        Span<byte> utf8 = stackalloc byte[4];
        for (int i = 0; i < word.Length;)
        {
            int length = NextRune(word, i, utf8, out int bytes);
            for (int b = 0; b < bytes; b++)
            {
                if (byteIds[utf8[b]] >= 0)
                {
                    symbols.Add(new(byteIds[utf8[b]], i, i + length));
                }
            }

            i += length;
        }

        return symbols;
    }

    private List<BpeMerger.Symbol> Characters(ReadOnlySpan<char> word)
    {
        var symbols = new List<BpeMerger.Symbol>(word.Length);
        Span<byte> utf8 = stackalloc byte[4];
        bool lastUnknown = false;
        for (int i = 0; i < word.Length;)
        {
            int length = NextRune(word, i, utf8, out int bytes);
            bool isUnknown = false;
            if (vocabulary.Tokens.TryGetValue(word.Slice(i, length).ToString(), out int id))
            {
                symbols.Add(new(id, i, i + length));
            }
            else if (vocabulary.ByteFallback && AllBytesKnown(utf8[..bytes]))
            {
                for (int b = 0; b < bytes; b++)
                {
                    symbols.Add(new(byteIds[utf8[b]], i, i + length));
                }
            }
            else if (unknown is { } unknownId)
            {
                isUnknown = true;
                if (lastUnknown && vocabulary.FuseUnknown)
                {
                    symbols[^1] = symbols[^1] with { End = i + length };
                }
                else
                {
                    symbols.Add(new(unknownId, i, i + length));
                }
            }

            lastUnknown = isUnknown;
            i += length;
        }

        return symbols;
    }

    private bool AllBytesKnown(ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes)
        {
            if (byteIds[value] < 0)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>UTF-16 units of the next character; a lone surrogate counts as the replacement character.</summary>
    private static int NextRune(ReadOnlySpan<char> text, int index, Span<byte> utf8, out int bytes)
    {
        _ = Rune.DecodeFromUtf16(text[index..], out Rune rune, out int length);
        bytes = rune.EncodeToUtf8(utf8);
        return length;
    }
}
