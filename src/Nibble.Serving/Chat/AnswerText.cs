using Nibble.Modeling.Tokenizers;

namespace Nibble.Serving.Chat;

/// <summary>
/// Text from tokens as they come: whole characters only, and nothing that may turn out to be the beginning of a stop string. The newest
/// tokens are decoded together with those before them, for what a token means may depend on them.
/// </summary>
internal sealed class AnswerText(HfTokenizer tokenizer, IReadOnlyList<string> stops, Action<string> onText)
{
    private const char Unfinished = '\uFFFD';

    private readonly List<int> tokens = [];
    private int from; // Of the tokens that are decoded.
    private int told; // Up to which their text is known.
    private string held = "";

    /// <summary>Whether a stop string has come.</summary>
    public bool IsStopped { get; private set; }

    public void Add(int token)
    {
        tokens.Add(token);
        string before = Decode(from, told);
        string all = Decode(from, tokens.Count);
        if (all.Length > before.Length && all[^1] != Unfinished)
        {
            (from, told) = (told, tokens.Count);
            Tell(all[before.Length..]);
        }
    }

    /// <summary>Tells what was held back.</summary>
    public void End()
    {
        if (!IsStopped)
        {
            held += Decode(from, tokens.Count)[Decode(from, told).Length..];
            Say(held);
        }
    }

    private void Tell(string text)
    {
        held += text;
        int stop = stops.Select(item => held.IndexOf(item, StringComparison.Ordinal)).Where(index => index >= 0).DefaultIfEmpty(-1).Min();
        IsStopped = stop >= 0;
        int sure = IsStopped ? stop : held.Length - stops.Select(BegunAtEnd).DefaultIfEmpty(0).Max();
        Say(held[..sure]);
        held = held[sure..];
    }

    /// <summary>How many of the last characters are the first ones of a stop string.</summary>
    private int BegunAtEnd(string stop)
    {
        int length = Math.Min(stop.Length - 1, held.Length);
        while (length > 0 && !held.EndsWith(stop[..length], StringComparison.Ordinal))
        {
            length--;
        }

        return length;
    }

    private void Say(string text)
    {
        if (text.Length > 0)
        {
            onText(text);
        }
    }

    private string Decode(int start, int end) => tokenizer.Decode(tokens.GetRange(start, end - start), skipSpecialTokens: true);
}
