using System.Globalization;
using System.Text;

namespace Nibble.Modeling.Tokenizers;

/// <summary>
/// Text under way through normalisers, which remembers for each of its units what part of the original it came from. Slices
/// share their text, so that cutting a book into words copies nothing.
/// </summary>
internal readonly struct AlignedText
{
    private readonly string text;
    private readonly int first;

    // Of all of the text; null where units stand for themselves, the text's first at offset.
    private readonly (int Start, int End)[]? origins;
    private readonly int offset;

    private AlignedText(string text, int first, int length, int offset, (int Start, int End)[]? origins)
    {
        this.text = text;
        this.first = first;
        Length = length;
        this.offset = offset;
        this.origins = origins;
    }

    private AlignedText(string text, (int Start, int End)[] origins)
        : this(text, 0, text.Length, 0, origins)
    {
    }

    public int Length { get; }

    public ReadOnlySpan<char> Span => text.AsSpan(first, Length);

    public string Value => text.Substring(first, Length);

    /// <summary>The part [start, end) of the original.</summary>
    public static AlignedText Of(string original, int start, int end) => new(original, start, end - start, 0, null);

    /// <summary>The part of the original behind units [start, end).</summary>
    public (int Start, int End) Origin(int start, int end)
    {
        (start, end) = (start + first, end + first);
        if (origins is null)
        {
            return (offset + start, offset + end);
        }

        return start == end ? (Edge(start), Edge(start)) : (origins[start].Start, origins[end - 1].End);
    }

    public AlignedText Slice(int start, int length) => new(text, first + start, length, offset, origins);

    public AlignedText Prepend(string prefix)
    {
        // As in the peers, what is prepended shares the place of the first character.
        (int, int) place = Length == 0 ? (Edge(first), Edge(first)) : Origin(0, RuneLength(Span, 0));
        var map = new (int, int)[prefix.Length + Length];
        Array.Fill(map, place, 0, prefix.Length);
        for (int i = 0; i < Length; i++)
        {
            map[prefix.Length + i] = Origin(i, i + 1);
        }

        return new(string.Concat(prefix, Span), map);
    }

    public AlignedText Replace(string pattern, string content)
    {
        ReadOnlySpan<char> span = Span;
        if (!span.Contains(pattern, StringComparison.Ordinal))
        {
            return this;
        }

        if (pattern.Length == content.Length)
        {
            string replaced = Value.Replace(pattern, content, StringComparison.Ordinal);
            return origins is null ? new(replaced, 0, Length, offset + first, null) : new(replaced, origins[first..(first + Length)]);
        }

        var result = new StringBuilder();
        var map = new List<(int, int)>();
        for (int i = 0; i < Length;)
        {
            bool hit = span[i..].StartsWith(pattern, StringComparison.Ordinal);
            int units = hit ? pattern.Length : 1;
            ReadOnlySpan<char> part = hit ? content : span.Slice(i, 1);
            result.Append(part);
            map.AddRange(Enumerable.Repeat(Origin(i, i + units), part.Length));
            i += units;
        }

        return new(result.ToString(), [.. map]);
    }

    /// <summary>Unicode normalisation, aligned by runs that cannot interact: a starter and the marks after it.</summary>
    public AlignedText Normalize(NormalizationForm form)
    {
        if (Ascii.IsValid(Span) || IsNormal(Span, form))
        {
            return this;
        }

        string value = Value;
        var result = new StringBuilder();
        var map = new List<(int, int)>();
        for (int i = 0; i < value.Length;)
        {
            int end = i + RuneLength(value, i);
            while (end < value.Length && Continues(value, end))
            {
                end += RuneLength(value, end);
            }

            string run = value[i..end];
            string normal = Normal(run, form);
            if (normal == run)
            {
                for (int unit = i; unit < end; unit++)
                {
                    map.Add(Origin(unit, unit + 1));
                }
            }
            else
            {
                // As in the peers, a composed character stands in the place of its base.
                map.AddRange(Enumerable.Repeat(Origin(i, i + RuneLength(value, i)), normal.Length));
            }

            result.Append(normal);
            i = end;
        }

        return new(result.ToString(), [.. map]);
    }

    /// <summary>False as well where lone surrogates keep it from being told.</summary>
    private static bool IsNormal(ReadOnlySpan<char> value, NormalizationForm form)
    {
        try
        {
            return value.IsNormalized(form);
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

    /// <summary>Lone surrogates cannot be normalised and stay as they are.</summary>
    private static string Normal(string run, NormalizationForm form)
    {
        try
        {
            return run.Normalize(form);
        }
        catch (ArgumentException)
        {
            return run;
        }
    }

    private static int RuneLength(ReadOnlySpan<char> value, int index) =>
        char.IsHighSurrogate(value[index]) && index + 1 < value.Length && char.IsLowSurrogate(value[index + 1]) ? 2 : 1;

    /// <summary>Marks, and the vowel and final jamos of Hangul, may join what is before them.</summary>
    private static bool Continues(string value, int index) =>
        CharUnicodeInfo.GetUnicodeCategory(value, index) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
        || value[index] is >= '\u1160' and <= '\u11ff';

    private int Edge(int unit) =>
        origins is null ? offset + unit
        : origins.Length == 0 ? offset
        : unit < origins.Length ? origins[unit].Start : origins[^1].End;
}
