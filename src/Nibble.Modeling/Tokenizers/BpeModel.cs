using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace Nibble.Modeling.Tokenizers;

/// <summary>What a BPE vocabulary is read into, from tokenizer.json or SentencePiece's tokenizer.model.</summary>
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

/// <summary>Byte-pair encoding of words.</summary>
internal sealed class BpeModel : IWordModel
{
    private readonly BpeVocabulary vocabulary;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> tokens;
    private readonly BpeMerger merger;
    private readonly bool byteLevel;
    private readonly int[] byteIds;
    private readonly int? unknown;

    public BpeModel(BpeVocabulary vocabulary, bool byteLevel)
    {
        this.vocabulary = vocabulary;
        this.byteLevel = byteLevel;
        tokens = vocabulary.Tokens.GetAlternateLookup<ReadOnlySpan<char>>();
        merger = new BpeMerger(vocabulary.Merges);
        byteIds = [.. Enumerable.Range(0, 256).Select(value => vocabulary.Tokens.GetValueOrDefault(
            byteLevel ? ByteAlphabet.CharacterOf((byte)value).ToString() : string.Create(CultureInfo.InvariantCulture, $"<0x{value:X2}>"), -1))];
        unknown = vocabulary.UnknownToken is { } token && vocabulary.Tokens.TryGetValue(token, out int id) ? id : null;
    }

    public BpeMerger.Symbol[] Encode(ReadOnlySpan<char> word)
    {
        if (vocabulary.IgnoreMerges && Whole(word) is { } id)
        {
            return [new(id, 0, word.Length)];
        }

        Span<BpeMerger.Symbol> symbols = CollectionsMarshal.AsSpan(byteLevel ? Bytes(word) : Characters(word));
        return symbols[..merger.Merge(symbols)].ToArray();
    }

    private int? Whole(ReadOnlySpan<char> word)
    {
        ReadOnlySpan<char> token = byteLevel ? ByteAlphabet.Write(Encoding.UTF8.GetBytes(word.ToString())) : word;
        return tokens.TryGetValue(token, out int id) ? id : null;
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
            if (tokens.TryGetValue(word.Slice(i, length), out int id))
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
