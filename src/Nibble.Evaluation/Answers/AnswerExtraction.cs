using System.Text.RegularExpressions;

namespace Nibble.Evaluation.Answers;

/// <summary>Finds the answer within a text by a regular expression, such as <c>#### (-?[0-9.,]+)</c> for GSM8K.</summary>
public sealed class AnswerExtraction
{
    private readonly Regex pattern;

    /// <summary>The answer is the last match: its first group if the expression has one, else all of it.</summary>
    /// <param name="pattern">A regular expression of .NET.</param>
    /// <param name="timeout">How long one search may take, by default a second; after that the text counts as one without an answer.</param>
    /// <exception cref="ArgumentException">The expression is malformed.</exception>
    public AnswerExtraction(string pattern, TimeSpan? timeout = null) =>
        this.pattern = new Regex(pattern, RegexOptions.CultureInvariant, timeout ?? TimeSpan.FromSeconds(1));

    /// <summary>The answer in a text; null where there is none.</summary>
    public string? Find(string text)
    {
        try
        {
            string? answer = null;
            for (Match match = pattern.Match(text); match.Success; match = match.NextMatch())
            {
                answer = match.Groups[match.Groups.Count > 1 ? 1 : 0].Value;
            }

            return answer;
        }
        catch (RegexMatchTimeoutException)
        {
            return null;
        }
    }

    /// <summary>The answer in a reference, which may also be the bare answer.</summary>
    internal string FindOrAll(string reference) => Find(reference) ?? reference;
}
