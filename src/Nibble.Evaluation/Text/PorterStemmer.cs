namespace Nibble.Evaluation.Text;

/// <summary>
/// Stems English words by Porter's algorithm (1980) with the extensions of NLTK, which are rouge_score's: irregular forms, short words
/// left alone, and other endings of y, ied, alli, fulli and logi.
/// </summary>
public static class PorterStemmer
{
    private static readonly Dictionary<string, string> Irregular = new()
    {
        ["sky"] = "sky",
        ["skies"] = "sky",
        ["dying"] = "die",
        ["lying"] = "lie",
        ["tying"] = "tie",
        ["news"] = "news",
        ["innings"] = "inning",
        ["inning"] = "inning",
        ["outings"] = "outing",
        ["outing"] = "outing",
        ["cannings"] = "canning",
        ["canning"] = "canning",
        ["howe"] = "howe",
        ["proceed"] = "proceed",
        ["exceed"] = "exceed",
        ["succeed"] = "succeed",
    };

    private static readonly (string Ending, string Replacement)[] Plurals = [("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")];

    private static readonly (string Ending, string Replacement)[] DoubleSuffixes =
    [
        ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"), ("alli", "al"),
        ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"), ("ator", "ate"), ("alism", "al"),
        ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"), ("fulli", "ful"),
    ];

    private static readonly (string Ending, string Replacement)[] Suffixes =
        [("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", "")];

    private static readonly string[] Removed =
    [
        "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti", "ous", "ive", "ize",
    ];

    /// <summary>The stem of a word in lower case.</summary>
    public static string Stem(string word)
    {
        ArgumentNullException.ThrowIfNull(word);
        return Irregular.TryGetValue(word, out string? stem) ? stem
            : word.Length <= 2 ? word
            : WithoutLastE(WithoutSuffix(ShorterSuffix(SingleSuffix(LastY(WithoutInflection(Singular(word)))))));
    }

    /// <summary>Step 1a.</summary>
    private static string Singular(string word) =>
        word.Length == 4 && Ends(word, "ies") ? word[..^1] : Replace(word, Plurals, _ => true);

    /// <summary>Step 1b.</summary>
    private static string WithoutInflection(string word)
    {
        if (Ends(word, "ied"))
        {
            return word.Length == 4 ? word[..^1] : word[..^2];
        }

        if (Ends(word, "eed"))
        {
            return Measure(word[..^3]) > 0 ? word[..^1] : word;
        }

        string? stem = Ends(word, "ed") && HasVowel(word[..^2]) ? word[..^2] : Ends(word, "ing") && HasVowel(word[..^3]) ? word[..^3] : null;
        return stem switch
        {
            null => word,
            _ when Ends(stem, "at") || Ends(stem, "bl") || Ends(stem, "iz") => stem + "e",
            _ when EndsDoubleConsonant(stem) => stem[^1] is 'l' or 's' or 'z' ? stem : stem[..^1],
            _ => Measure(stem) == 1 && EndsShortSyllable(stem) ? stem + "e" : stem,
        };
    }

    /// <summary>Step 1c.</summary>
    private static string LastY(string word) => Ends(word, "y") && word.Length > 2 && IsConsonant(word, word.Length - 2) ? word[..^1] + "i" : word;

    /// <summary>Step 2.</summary>
    private static string SingleSuffix(string word) => word switch
    {
        _ when Ends(word, "alli") && Measure(word[..^4]) > 0 => SingleSuffix(word[..^2]),
        // The l counts as part of the stem, so that geologi loses its i as archaeologi does.
        _ when Ends(word, "logi") => Measure(word[..^3]) > 0 ? word[..^1] : word,
        _ => Replace(word, DoubleSuffixes, stem => Measure(stem) > 0),
    };

    /// <summary>Step 3.</summary>
    private static string ShorterSuffix(string word) => Replace(word, Suffixes, stem => Measure(stem) > 0);

    /// <summary>Step 4.</summary>
    private static string WithoutSuffix(string word)
    {
        if (Array.Find(Removed, ending => Ends(word, ending)) is not { } suffix)
        {
            return word;
        }

        string stem = word[..^suffix.Length];
        return Measure(stem) > 1 && (suffix != "ion" || stem[^1] is 's' or 't') ? stem : word;
    }

    /// <summary>Step 5.</summary>
    private static string WithoutLastE(string word)
    {
        if (Ends(word, "e"))
        {
            string stem = word[..^1];
            int measure = Measure(stem);
            word = measure > 1 || (measure == 1 && !EndsShortSyllable(stem)) ? stem : word;
        }

        return Ends(word, "ll") && Measure(word[..^1]) > 1 ? word[..^1] : word;
    }

    /// <summary>Replaces the first ending that fits, if what stands before it fulfils the condition.</summary>
    private static string Replace(string word, (string Ending, string Replacement)[] rules, Func<string, bool> condition)
    {
        foreach ((string ending, string replacement) in rules)
        {
            if (Ends(word, ending))
            {
                string stem = word[..^ending.Length];
                return condition(stem) ? stem + replacement : word;
            }
        }

        return word;
    }

    private static bool Ends(string word, string ending) => word.EndsWith(ending, StringComparison.Ordinal);

    /// <summary>A y is one at the beginning and after a vowel, so in a run of them every other.</summary>
    private static bool IsConsonant(string word, int i)
    {
        int start = i;
        while (start > 0 && word[start] == 'y')
        {
            start--;
        }

        return word[start] is not ('a' or 'e' or 'i' or 'o' or 'u') == ((i - start) % 2 == 0);
    }

    private static bool HasVowel(string stem) => Enumerable.Range(0, stem.Length).Any(i => !IsConsonant(stem, i));

    /// <summary>How often vowels are followed by consonants.</summary>
    private static int Measure(string stem) => Enumerable.Range(1, Math.Max(0, stem.Length - 1)).Count(i => IsConsonant(stem, i) && !IsConsonant(stem, i - 1));

    private static bool EndsDoubleConsonant(string word) => word.Length >= 2 && word[^1] == word[^2] && IsConsonant(word, word.Length - 1);

    /// <summary>Consonant, vowel, and a consonant that is not w, x or y; or a word of a vowel and a consonant.</summary>
    private static bool EndsShortSyllable(string word) => word.Length == 2
        ? !IsConsonant(word, 0) && IsConsonant(word, 1)
        : word.Length >= 3 && IsConsonant(word, word.Length - 3) && !IsConsonant(word, word.Length - 2) && IsConsonant(word, word.Length - 1)
            && word[^1] is not ('w' or 'x' or 'y');
}
