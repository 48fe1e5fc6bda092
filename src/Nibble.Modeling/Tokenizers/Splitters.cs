using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Nibble.Modeling.Tokenizers;

/// <summary>Cuts text into pieces, each of which is tokenized on its own.</summary>
internal abstract class Splitter
{
    /// <summary>Adds the ends of the pieces of <paramref name="text"/>, in order; the last is its length.</summary>
    public abstract void Split(ReadOnlySpan<char> text, List<int> ends);

    /// <summary>The pieces of each of <paramref name="texts"/>.</summary>
    public List<AlignedText> Cut(List<AlignedText> texts)
    {
        var result = new List<AlignedText>();
        var ends = new List<int>();
        foreach (AlignedText text in texts)
        {
            ends.Clear();
            Split(text.Span, ends);
            int start = 0;
            foreach (int end in ends)
            {
                result.Add(text.Slice(start, end - start));
                start = end;
            }
        }

        return result;
    }

    /// <summary>Letters, numbers, white space and the rest, by code point as the peers' regular expressions see them.</summary>
    protected enum Kind
    {
        Letter,
        Number,
        Space,
        Other,
    }

    protected static Kind KindAt(ReadOnlySpan<char> text, int index, out int length)
    {
        char c = text[index];
        length = 1;
        if (c < 128)
        {
            return char.IsAsciiLetter(c) ? Kind.Letter : char.IsAsciiDigit(c) ? Kind.Number : c is ' ' or (>= '\t' and <= '\r') ? Kind.Space : Kind.Other;
        }

        if (char.IsWhiteSpace(c))
        {
            return Kind.Space;
        }

        UnicodeCategory category;
        if (char.IsSurrogate(c))
        {
            _ = Rune.DecodeFromUtf16(text[index..], out Rune rune, out length);
            category = Rune.GetUnicodeCategory(rune);
        }
        else
        {
            category = CharUnicodeInfo.GetUnicodeCategory(c);
        }

        return category switch
        {
            <= UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Kind.Number,
            _ => Kind.Other,
        };
    }

    /// <summary>The end of a run of one kind.</summary>
    protected static int Run(ReadOnlySpan<char> text, int index, Kind kind, int most = int.MaxValue)
    {
        while (index < text.Length && most-- > 0 && KindAt(text, index, out int length) == kind)
        {
            index += length;
        }

        return index;
    }

    /// <summary>Units of an English contraction ('s, 't, 're, 've, 'm, 'll, 'd) at index, or 0.</summary>
    protected static int Contraction(ReadOnlySpan<char> text, int index, bool ignoreCase)
    {
        if (text[index] != '\'' || index + 1 >= text.Length)
        {
            return 0;
        }

        char Fold(char c) => !ignoreCase ? c : c == '\u017f' ? 's' : char.ToLowerInvariant(c); // U+017F is a lower-case s to regular expressions.
        char first = Fold(text[index + 1]);
        if (first is 's' or 't' or 'm' or 'd')
        {
            return 2;
        }

        char second = index + 2 < text.Length ? Fold(text[index + 2]) : '\0';
        return (first, second) is ('r', 'e') or ('v', 'e') or ('l', 'l') ? 3 : 0;
    }

    /// <summary>White space before something else leaves its last character to it; at the end of the text it stays whole.</summary>
    protected static int SpaceEnd(ReadOnlySpan<char> text, int index)
    {
        int end = Run(text, index, Kind.Space);
        return end < text.Length && end - index > 1 ? end - 1 : end;
    }
}

/// <summary>GPT-2's pattern: contractions; letters, numbers or others with a space before; white space.</summary>
internal sealed class Gpt2Splitter : Splitter
{
    public override void Split(ReadOnlySpan<char> text, List<int> ends)
    {
        for (int i = 0; i < text.Length; ends.Add(i))
        {
            if (Contraction(text, i, ignoreCase: false) is > 0 and int units)
            {
                i += units;
                continue;
            }

            int start = text[i] == ' ' && i + 1 < text.Length ? i + 1 : i;
            Kind kind = KindAt(text, start, out _);
            i = kind == Kind.Space ? SpaceEnd(text, i) : Run(text, start, kind);
        }
    }
}

/// <summary>The pattern of Llama 3 and Qwen 2, which differ in how many digits make a number.</summary>
internal sealed class Llama3Splitter(int digits) : Splitter
{
    public override void Split(ReadOnlySpan<char> text, List<int> ends)
    {
        for (int i = 0; i < text.Length; ends.Add(i))
        {
            i = Next(text, i);
        }
    }

    private int Next(ReadOnlySpan<char> text, int i)
    {
        if (Contraction(text, i, ignoreCase: true) is > 0 and int units)
        {
            return i + units;
        }

        Kind kind = KindAt(text, i, out int length);
        if (kind == Kind.Letter)
        {
            return Run(text, i, Kind.Letter);
        }

        bool newline = text[i] is '\r' or '\n';
        if (kind != Kind.Number && !newline && i + length < text.Length && KindAt(text, i + length, out _) == Kind.Letter)
        {
            return Run(text, i + length, Kind.Letter);
        }

        if (kind == Kind.Number)
        {
            return Run(text, i, Kind.Number, digits);
        }

        int others = text[i] == ' ' ? i + 1 : i;
        if (others < text.Length && KindAt(text, others, out _) == Kind.Other)
        {
            int end = Run(text, others, Kind.Other);
            while (end < text.Length && text[end] is '\r' or '\n')
            {
                end++;
            }

            return end;
        }

        int spaces = Run(text, i, Kind.Space);
        int lastNewline = text[i..spaces].LastIndexOfAny('\r', '\n');
        return lastNewline >= 0 ? i + lastNewline + 1 : SpaceEnd(text, i);
    }
}

/// <summary>Each run of digits, or each digit, apart.</summary>
internal sealed class DigitSplitter(bool individual) : Splitter
{
    public override void Split(ReadOnlySpan<char> text, List<int> ends)
    {
        for (int i = 0; i < text.Length; ends.Add(i))
        {
            bool number = KindAt(text, i, out int length) == Kind.Number;
            i += length;
            while (i < text.Length && !(number && individual) && (KindAt(text, i, out length) == Kind.Number) == number)
            {
                i += length;
            }
        }
    }
}

/// <summary>
/// The words of a vocabulary in SentencePiece's style. Where none of its tokens continues past a word's end, words cannot merge
/// with each other; neither can lines where none continues past a line's.
/// </summary>
internal sealed class WordSplitter : Splitter
{
    private const char Mark = '\u2581';

    private readonly bool atMarks;
    private readonly bool atNewlines;

    public WordSplitter(BpeVocabulary vocabulary)
    {
        atMarks = vocabulary.Tokens.Keys.All(token => Enumerable.Range(1, token.Length - 1).All(i => !BeginsWord(token[i - 1], token[i])));
        atNewlines = NewlineOf(vocabulary) is { } newline
            && vocabulary.Tokens.Keys.All(token => token.Length == 1 || !token.Contains('\n', StringComparison.Ordinal))
            && vocabulary.Merges.Keys.All(pair => (int)(pair >> 32) != newline && (int)pair != newline);
    }

    public override void Split(ReadOnlySpan<char> text, List<int> ends)
    {
        for (int i = 1; i < text.Length; i++)
        {
            if ((atMarks && BeginsWord(text[i - 1], text[i])) || (atNewlines && (text[i] == '\n' || text[i - 1] == '\n')))
            {
                ends.Add(i);
            }
        }

        ends.Add(text.Length);
    }

    private static bool BeginsWord(char before, char at) => at == Mark && before != Mark;

    /// <summary>Null if a newline is unknown: unknown characters may become one token with their neighbours.</summary>
    private static int? NewlineOf(BpeVocabulary vocabulary) =>
        vocabulary.Tokens.TryGetValue("\n", out int id) || (vocabulary.ByteFallback && vocabulary.Tokens.TryGetValue("<0x0A>", out id)) ? id : null;
}

/// <summary>
/// Any other pattern, by .NET's regular expressions. They see UTF-16 units, so that classes such as \p{L} would miss letters
/// outside the basic plane: the pattern runs on a shadow of the text with one unit of the same category for each of those.
/// </summary>
internal sealed class RegexSplitter(string pattern) : Splitter
{
    private static readonly Dictionary<UnicodeCategory, char> Shadows = BuildShadows();

    private readonly Regex regex = new(pattern, RegexOptions.Compiled | RegexOptions.CultureInvariant, TimeSpan.FromSeconds(30));

    public override void Split(ReadOnlySpan<char> text, List<int> ends)
    {
        (string shadow, List<int> positions) = Shadow(text);
        int last = 0;
        for (Match match = regex.Match(shadow); match.Success; match = match.NextMatch())
        {
            AddEnd(match.Index);
            AddEnd(match.Index + match.Length);
        }

        AddEnd(shadow.Length);

        void AddEnd(int shadowIndex)
        {
            if (shadowIndex > last)
            {
                ends.Add(positions[shadowIndex]);
                last = shadowIndex;
            }
        }
    }

    private static (string Shadow, List<int> Positions) Shadow(ReadOnlySpan<char> text)
    {
        var shadow = new StringBuilder(text.Length);
        var positions = new List<int>(text.Length + 1);
        for (int i = 0; i < text.Length;)
        {
            positions.Add(i);
            _ = Rune.DecodeFromUtf16(text[i..], out Rune rune, out int length);
            shadow.Append(length == 1 ? text[i] : Shadows.GetValueOrDefault(Rune.GetUnicodeCategory(rune), '\ufffd'));
            i += length;
        }

        positions.Add(text.Length);
        return (shadow.ToString(), positions);
    }

    /// <summary>An uncommon character of each category, unlikely to be named in a pattern.</summary>
    private static Dictionary<UnicodeCategory, char> BuildShadows()
    {
        var shadows = new Dictionary<UnicodeCategory, char>();
        for (int c = 0xffff; c >= 0x2000; c--)
        {
            if (!char.IsSurrogate((char)c))
            {
                shadows.TryAdd(CharUnicodeInfo.GetUnicodeCategory((char)c), (char)c);
            }
        }

        return shadows;
    }
}
