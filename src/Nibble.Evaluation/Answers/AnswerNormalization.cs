using System.Text.RegularExpressions;
using Nibble.Evaluation.Text;

namespace Nibble.Evaluation.Answers;

/// <summary>What does not matter when answers are compared.</summary>
public enum AnswerNormalization
{
    /// <summary>White space around them, and letter case.</summary>
    Trim,

    /// <summary>As SQuAD has it (Rajpurkar et al. 2016): letter case, ASCII's punctuation, the articles a, an and the, and how words are spaced.</summary>
    Squad,
}

/// <summary>Answers without what does not matter.</summary>
internal static partial class NormalizedAnswer
{
    public static string Of(string answer, AnswerNormalization normalization) => normalization switch
    {
        AnswerNormalization.Squad => string.Join(' ', Words.Split(Articles().Replace(Punctuation().Replace(answer.ToLowerInvariant(), ""), " "))),
        _ => answer.Trim().ToLowerInvariant(),
    };

    [GeneratedRegex(@"[!-/:-@\[-`{-~]")]
    private static partial Regex Punctuation();

    [GeneratedRegex(@"\b(a|an|the)\b")]
    private static partial Regex Articles();
}
