using System.Globalization;
using System.Text;

namespace Nibble.Modeling.Tokenizers;

/// <summary>Text under way through normalisers, which remembers for each of its units what part of the original it came from.</summary>
internal sealed class AlignedText
{
    private readonly int offset;
    private readonly (int Start, int End)[]? origins;

    private AlignedText(string value, int offset, (int Start, int End)[]? origins)
    {
        Value = value;
        this.offset = offset;
        this.origins = origins;
    }

    public string Value { get; }

    /// <summary>A part of the original, <paramref name="offset"/> units from its start.</summary>
    public static AlignedText Of(string value, int offset) => new(value, offset, null);

    /// <summary>The part of the original behind units [start, end).</summary>
    public (int Start, int End) Origin(int start, int end)
    {
        if (origins is null)
        {
            return (offset + start, offset + end);
        }

        return start == end ? (Edge(start), Edge(start)) : (origins[start].Start, origins[end - 1].End);
    }

    public AlignedText Slice(int start, int length) => origins is null
        ? new(Value.Substring(start, length), offset + start, null)
        : new(Value.Substring(start, length), 0, origins[start..(start + length)]);

    public AlignedText Prepend(string prefix)
    {
        // As in the peers, what is prepended shares the place of the first character.
        (int, int) first = Value.Length == 0 ? (Edge(0), Edge(0)) : Origin(0, RuneLength(0));
        return new(prefix + Value, 0, [.. Enumerable.Repeat(first, prefix.Length), .. Origins()]);
    }

    public AlignedText Replace(string pattern, string content)
    {
        if (!Value.Contains(pattern, StringComparison.Ordinal))
        {
            return this;
        }

        if (pattern.Length == content.Length)
        {
            return new(Value.Replace(pattern, content, StringComparison.Ordinal), offset, origins);
        }

        var text = new StringBuilder();
        var map = new List<(int, int)>();
        for (int i = 0; i < Value.Length;)
        {
            bool hit = string.CompareOrdinal(Value, i, pattern, 0, pattern.Length) == 0;
            (int start, int end) = Origin(i, hit ? i + pattern.Length : i + 1);
            string part = hit ? content : Value[i].ToString();
            text.Append(part);
            map.AddRange(Enumerable.Repeat((start, end), part.Length));
            i += hit ? pattern.Length : 1;
        }

        return new(text.ToString(), 0, [.. map]);
    }

    /// <summary>Unicode normalisation, aligned by runs that cannot interact: a starter and the marks after it.</summary>
    public AlignedText Normalize(NormalizationForm form)
    {
        if (IsPlain(Value) || Value.IsNormalized(form))
        {
            return this;
        }

        var text = new StringBuilder();
        var map = new List<(int, int)>();
        for (int i = 0; i < Value.Length;)
        {
            int end = i + RuneLength(i);
            while (end < Value.Length && Continues(end))
            {
                end += RuneLength(end);
            }

            string run = Value[i..end];
            string normal = Normal(run, form);
            if (normal == run)
            {
                map.AddRange(Enumerable.Range(i, end - i).Select(unit => Origin(unit, unit + 1)));
            }
            else
            {
                // As in the peers, a composed character stands in the place of its base.
                map.AddRange(Enumerable.Repeat(Origin(i, i + RuneLength(i)), normal.Length));
            }

            text.Append(normal);
            i = end;
        }

        return new(text.ToString(), 0, [.. map]);
    }

    private static bool IsPlain(string value) => !value.AsSpan().ContainsAnyExceptInRange('\0', '\u007f');

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

    private int RuneLength(int index) => char.IsHighSurrogate(Value[index]) && index + 1 < Value.Length && char.IsLowSurrogate(Value[index + 1]) ? 2 : 1;

    /// <summary>Marks, and the vowel and final jamos of Hangul, may join what is before them.</summary>
    private bool Continues(int index) =>
        CharUnicodeInfo.GetUnicodeCategory(Value, index) is UnicodeCategory.NonSpacingMark or UnicodeCategory.SpacingCombiningMark or UnicodeCategory.EnclosingMark
        || Value[index] is >= '\u1160' and <= '\u11ff';

    private IEnumerable<(int, int)> Origins() => origins ?? Enumerable.Range(0, Value.Length).Select(i => (offset + i, offset + i + 1));

    private int Edge(int unit) =>
        origins is null ? offset + unit
        : origins.Length == 0 ? offset
        : unit < origins.Length ? origins[unit].Start : origins[^1].End;
}
