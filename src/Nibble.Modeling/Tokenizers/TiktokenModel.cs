using System.Text;
using Microsoft.ML.Tokenizers;

namespace Nibble.Modeling.Tokenizers;

/// <summary>
/// Words by Microsoft.ML.Tokenizers' own class. It is given words, not text: its regular expressions see UTF-16 units and would
/// cut around letters outside the basic plane. Its time grows with the square of a word's length.
/// </summary>
internal sealed class TiktokenModel : IWordModel
{
    private readonly TiktokenTokenizer tokenizer;
    private readonly int[] lengths;

    /// <param name="tokenizer">Made from the same file as <paramref name="tokens"/>.</param>
    /// <param name="tokens">A character for each byte, with ids from 0 on.</param>
    public TiktokenModel(TiktokenTokenizer tokenizer, IReadOnlyDictionary<string, int> tokens)
    {
        this.tokenizer = tokenizer;
        lengths = new int[tokens.Count];
        foreach ((string token, int id) in tokens)
        {
            lengths[id] = token.Length;
        }
    }

    public BpeMerger.Symbol[] Encode(ReadOnlySpan<char> word)
    {
        IReadOnlyList<int> ids = tokenizer.EncodeToIds(word, considerPreTokenization: false, considerNormalization: false);
        var symbols = new BpeMerger.Symbol[ids.Count];
        // The character under way, and how many of its bytes no token has taken yet.
        (int start, int end, int left) = (0, 0, 0);
        for (int i = 0; i < symbols.Length; i++)
        {
            int first = left > 0 ? start : end;
            int taken = lengths[ids[i]];
            while (taken > left)
            {
                taken -= left;
                _ = Rune.DecodeFromUtf16(word[end..], out Rune rune, out int units);
                (start, end, left) = (end, end + units, rune.Utf8SequenceLength);
            }

            left -= taken;
            symbols[i] = new(ids[i], first, end);
        }

        return symbols;
    }
}
