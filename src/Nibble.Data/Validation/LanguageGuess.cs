using System.Collections.Frozen;

namespace Nibble.Data.Validation;

/// <summary>
/// Guesses a text's language: by its script where few languages use that, else by the commonest words of eight languages in Latin
/// letters. Good enough to see that a dataset mixes languages, not to sort it by them.
/// </summary>
internal static class LanguageGuess
{
    private const int Looked = 600;

    private static readonly FrozenDictionary<string, string[]> Languages = Words(
        ("en", "the and is of to in that it was for are with you this what how do can i my your"),
        ("de", "der die das und ist nicht ein eine zu mit den von auf für wie ich sie es wir sind"),
        ("fr", "le la les et est des une un dans pour que qui pas vous je il elle sur avec du"),
        ("es", "el la los las y es de que en un una por con para se como su al del qué"),
        ("it", "il la di che è un una per con non sono del della gli le come si nel questo"),
        ("pt", "os é de que em um uma para com não por como da se você ao mais são"),
        ("nl", "de het een en van dat niet te op voor met zijn er aan wat hoe ik je"),
        ("pl", "w na jest nie to się z do że jak o co po czy dla jego są tak ale"));

    private static readonly FrozenDictionary<string, string[]>.AlternateLookup<ReadOnlySpan<char>> LanguagesOf = Languages.GetAlternateLookup<ReadOnlySpan<char>>();

    /// <summary>A language code; <c>other</c> where nothing fits.</summary>
    public static string Of(ReadOnlySpan<char> text)
    {
        text = text[..Math.Min(text.Length, Looked)];
        return Script(text) ?? LatinLanguage(text) ?? "other";
    }

    /// <summary>The language of most letters by their script; null if they are Latin.</summary>
    private static string? Script(ReadOnlySpan<char> text)
    {
        var counts = new Dictionary<string, int>();
        foreach (char letter in text)
        {
            if (char.IsLetter(letter))
            {
                string script = letter switch
                {
                    < '\u0250' => "latin",
                    >= '\u0370' and < '\u0400' => "el",
                    >= '\u0400' and < '\u0530' => "ru",
                    >= '\u0590' and < '\u0600' => "he",
                    >= '\u0600' and < '\u0780' => "ar",
                    >= '\u0900' and < '\u0980' => "hi",
                    >= '\u0E00' and < '\u0E80' => "th",
                    >= '\u3040' and < '\u3100' => "ja",
                    >= '\u3400' and < '\uA000' => "zh",
                    >= '\uAC00' and < '\uD7B0' => "ko",
                    _ => "other",
                };
                counts[script] = counts.GetValueOrDefault(script) + 1;
            }
        }

        if (counts.GetValueOrDefault("ja") * 4 > counts.GetValueOrDefault("zh"))
        {
            counts["ja"] = counts.GetValueOrDefault("ja") + counts.GetValueOrDefault("zh"); // Japanese mixes both scripts.
        }

        string? most = counts.Count == 0 ? "other" : counts.MaxBy(item => item.Value).Key;
        return most == "latin" ? null : most;
    }

    private static string? LatinLanguage(ReadOnlySpan<char> text)
    {
        var counts = new Dictionary<string, int>();
        Span<char> lower = stackalloc char[16];
        for (int start = 0; start < text.Length;)
        {
            int end = start;
            while (end < text.Length && char.IsLetter(text[end]))
            {
                end++;
            }

            if (end - start is > 0 and < 16)
            {
                text[start..end].ToLowerInvariant(lower);
                foreach (string language in LanguagesOf.TryGetValue(lower[..(end - start)], out string[]? found) ? found : [])
                {
                    counts[language] = counts.GetValueOrDefault(language) + 1;
                }
            }

            start = end + 1;
        }

        return counts.Count == 0 ? null : counts.MaxBy(item => item.Value).Key;
    }

    private static FrozenDictionary<string, string[]> Words(params (string Language, string Words)[] languages) => languages
        .SelectMany(item => item.Words.Split(' ').Select(word => (word, item.Language)))
        .GroupBy(item => item.word, item => item.Language)
        .ToFrozenDictionary(group => group.Key, group => group.ToArray());
}
