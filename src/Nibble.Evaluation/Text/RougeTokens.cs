namespace Nibble.Evaluation.Text;

/// <summary>Cuts text as rouge_score does: runs of a to z and 0 to 9 in lower case, those of more than three characters stemmed if so wished.</summary>
internal sealed class RougeTokens(bool stem)
{
    private const int Unstemmed = 3;

    private readonly Dictionary<string, string> stems = [];

    public List<string> Of(string text)
    {
        var tokens = new List<string>();
        var token = new System.Text.StringBuilder();
        foreach (char character in text)
        {
            // Two letters beyond ASCII have lower-case forms that begin with one of ASCII: the Kelvin sign, and I with a dot above,
            // whose dot then ends the word.
            char lower = character switch { '\u212A' => 'k', '\u0130' => 'i', _ => char.IsAscii(character) ? char.ToLowerInvariant(character) : ' ' };
            bool inside = char.IsAsciiLetterOrDigit(lower);
            if (inside)
            {
                token.Append(lower);
            }

            if ((!inside || character == '\u0130') && token.Length > 0)
            {
                tokens.Add(Finished(token.ToString()));
                token.Clear();
            }
        }

        if (token.Length > 0)
        {
            tokens.Add(Finished(token.ToString()));
        }

        return tokens;
    }

    private string Finished(string token)
    {
        if (!stem || token.Length <= Unstemmed)
        {
            return token;
        }

        if (!stems.TryGetValue(token, out string? known))
        {
            stems.Add(token, known = PorterStemmer.Stem(token));
        }

        return known;
    }
}
