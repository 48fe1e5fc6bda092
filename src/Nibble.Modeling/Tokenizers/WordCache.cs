using System.Collections.Concurrent;

namespace Nibble.Modeling.Tokenizers;

/// <summary>Turns a word, a piece of text that is tokenized on its own, into tokens.</summary>
internal interface IWordModel
{
    /// <summary>The tokens; their spans are units of the word.</summary>
    BpeMerger.Symbol[] Encode(ReadOnlySpan<char> word);
}

/// <summary>Remembers what words became: running text says the same ones again and again.</summary>
internal sealed class WordCache
{
    private const int LongestCached = 64;
    private const int MostCached = 200_000;

    private readonly IWordModel model;
    private readonly ConcurrentDictionary<string, BpeMerger.Symbol[]> known = new();
    private readonly ConcurrentDictionary<string, BpeMerger.Symbol[]>.AlternateLookup<ReadOnlySpan<char>> bySpan;

    // The dictionary's own count takes every one of its locks.
    private int count;

    public WordCache(IWordModel model)
    {
        this.model = model;
        bySpan = known.GetAlternateLookup<ReadOnlySpan<char>>();
    }

    public BpeMerger.Symbol[] Encode(ReadOnlySpan<char> word)
    {
        if (bySpan.TryGetValue(word, out BpeMerger.Symbol[]? symbols))
        {
            return symbols;
        }

        symbols = model.Encode(word);
        if (word.Length <= LongestCached && bySpan.TryAdd(word, symbols) && Interlocked.Increment(ref count) >= MostCached)
        {
            known.Clear();
            count = 0;
        }

        return symbols;
    }
}
