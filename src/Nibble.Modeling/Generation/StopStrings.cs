using Nibble.Modeling.Tokenizers;

namespace Nibble.Modeling.Generation;

/// <summary>Texts that end a continuation wherever they appear in it, across token borders too.</summary>
/// <param name="tokenizer">Decodes what was generated.</param>
/// <param name="stops">The texts, none empty.</param>
public sealed class StopStrings(HfTokenizer tokenizer, IReadOnlyList<string> stops)
{
    /// <summary>A token may hold a single byte of a character that takes four.</summary>
    private readonly int tail = (4 * stops.Max(stop => stop.Length)) + 4;

    /// <summary>Whether the newest of <paramref name="tokens"/> completed a stop string; suits <see cref="GenerationOptions.StopWhen"/>.</summary>
    public bool Reached(IReadOnlyList<int> tokens)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        return First(tokenizer.Decode(tokens.Skip(tokens.Count - tail), skipSpecialTokens: true)) >= 0;
    }

    /// <summary><paramref name="text"/> up to the first stop string, or whole.</summary>
    public string Cut(string text)
    {
        int end = First(text);
        return end < 0 ? text : text[..end];
    }

    private int First(string text) =>
        stops.Select(stop => text.IndexOf(stop, StringComparison.Ordinal)).Where(index => index >= 0).DefaultIfEmpty(-1).Min();
}
