using System.Globalization;

namespace Nibble.Modeling.ChatTemplates;

/// <summary>Methods of Python's strings.</summary>
internal static class StringMethods
{
    public static Callable? Find(string text, string name) => name switch
    {
        "strip" => (arguments, _) => Strip(text, arguments, true, true),
        "lstrip" => (arguments, _) => Strip(text, arguments, true, false),
        "rstrip" => (arguments, _) => Strip(text, arguments, false, true),
        "upper" => (_, _) => text.ToUpperInvariant(),
        "lower" => (_, _) => text.ToLowerInvariant(),
        "title" => (_, _) => Title(text),
        "capitalize" => (_, _) => Capitalize(text),
        "swapcase" => (_, _) => string.Concat(text.Select(c => char.IsUpper(c) ? char.ToLowerInvariant(c) : char.ToUpperInvariant(c))),
        "startswith" => (arguments, _) => Affixes(arguments[0]).Any(affix => text.StartsWith(affix, StringComparison.Ordinal)),
        "endswith" => (arguments, _) => Affixes(arguments[0]).Any(affix => text.EndsWith(affix, StringComparison.Ordinal)),
        "removeprefix" => (arguments, _) => text.StartsWith(String(arguments, 0), StringComparison.Ordinal) ? text[String(arguments, 0).Length..] : text,
        "removesuffix" => (arguments, _) => text.EndsWith(String(arguments, 0), StringComparison.Ordinal) ? text[..^String(arguments, 0).Length] : text,
        "split" => (arguments, named) => Split(text, arguments, named, fromRight: false),
        "rsplit" => (arguments, named) => Split(text, arguments, named, fromRight: true),
        "splitlines" => (_, _) => SplitLines(text),
        "partition" => (arguments, _) => Partition(text, String(arguments, 0), text.IndexOf(String(arguments, 0), StringComparison.Ordinal), text, "", ""),
        "rpartition" => (arguments, _) => Partition(text, String(arguments, 0), text.LastIndexOf(String(arguments, 0), StringComparison.Ordinal), "", "", text),
        "replace" => (arguments, _) => Replace(text, String(arguments, 0), String(arguments, 1), arguments.Count > 2 ? Operators.Index(arguments[2]) : -1),
        "join" => (arguments, _) => string.Join(text, Values.Items(arguments[0]).Select(item => item as string ?? throw new ChatTemplateException($"TypeError: expected str instance, {Values.TypeName(item)} found"))),
        "find" => (arguments, _) => (long)text.IndexOf(String(arguments, 0), StringComparison.Ordinal),
        "rfind" => (arguments, _) => (long)text.LastIndexOf(String(arguments, 0), StringComparison.Ordinal),
        "count" => (arguments, _) => (long)Count(text, String(arguments, 0)),
        "isdigit" or "isnumeric" or "isdecimal" => (_, _) => text.Length > 0 && text.All(char.IsDigit),
        "isalpha" => (_, _) => text.Length > 0 && text.All(char.IsLetter),
        "isalnum" => (_, _) => text.Length > 0 && text.All(char.IsLetterOrDigit),
        "isspace" => (_, _) => text.Length > 0 && text.All(char.IsWhiteSpace),
        "isupper" => (_, _) => text.Any(char.IsUpper) && !text.Any(char.IsLower),
        "islower" => (_, _) => text.Any(char.IsLower) && !text.Any(char.IsUpper),
        "zfill" => (arguments, _) => text.PadLeft((int)Math.Clamp(Operators.Index(arguments[0]), 0, Budget.LongestRange), '0'),
        "format" => (arguments, named) => Format(text, arguments, named),
        _ => null,
    };

    public static string Title(string text)
    {
        char[] result = text.ToCharArray();
        for (int i = 0; i < result.Length; i++)
        {
            bool starts = i == 0 || !char.IsLetter(result[i - 1]);
            result[i] = starts ? char.ToUpperInvariant(result[i]) : char.ToLowerInvariant(result[i]);
        }

        return new string(result);
    }

    public static string Capitalize(string text) => text.Length == 0 ? text : char.ToUpperInvariant(text[0]) + text[1..].ToLowerInvariant();

    public static string Replace(string text, string old, string with, long count)
    {
        if (count < 0 && old.Length > 0)
        {
            Budget.RequireSize(text.Length + ((long)Count(text, old) * Math.Max(0, with.Length - old.Length)));
            return text.Replace(old, with, StringComparison.Ordinal);
        }

        for (int from = 0; count > 0 && text.IndexOf(old, from, StringComparison.Ordinal) is >= 0 and int at; count--)
        {
            text = string.Concat(text.AsSpan(0, at), with, text.AsSpan(at + old.Length));
            from = at + with.Length;
        }

        return text;
    }

    private static string String(IReadOnlyList<object?> arguments, int index) => index < arguments.Count && arguments[index] is string text
        ? text
        : throw new ChatTemplateException($"TypeError: argument {index + 1} must be str, not {Values.TypeName(index < arguments.Count ? arguments[index] : null)}");

    private static IEnumerable<string> Affixes(object? argument) =>
        argument is TupleValue tuple ? tuple.Cast<string>() : [argument as string ?? throw new ChatTemplateException($"TypeError: an affix must be str, not {Values.TypeName(argument)}")];

    private static string Strip(string text, IReadOnlyList<object?> arguments, bool left, bool right)
    {
        char[]? characters = arguments.Count > 0 && arguments[0] is not null ? String(arguments, 0).ToCharArray() : null;
        text = left ? characters is null ? text.TrimStart() : text.TrimStart(characters) : text;
        return right ? characters is null ? text.TrimEnd() : text.TrimEnd(characters) : text;
    }

    private static List<object?> Split(string text, IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named, bool fromRight)
    {
        object? separator = arguments.Count > 0 ? arguments[0] : named.GetValueOrDefault("sep");
        long most = arguments.Count > 1 ? Operators.Index(arguments[1]) : named.TryGetValue("maxsplit", out object? limit) ? Operators.Index(limit) : -1;
        int count = most < 0 ? int.MaxValue : (int)Math.Min(most + 1, int.MaxValue);
        if (separator is null)
        {
            return SplitOnSpaces(text, count);
        }

        string by = separator as string ?? throw new ChatTemplateException($"TypeError: must be str or None, not {Values.TypeName(separator)}");
        if (by.Length == 0)
        {
            throw new ChatTemplateException("ValueError: empty separator");
        }

        string[] parts = text.Split(by);
        if (parts.Length <= count)
        {
            return [.. parts];
        }

        return fromRight
            ? [string.Join(by, parts[..^(count - 1)]), .. parts[^(count - 1)..]]
            : [.. parts[..(count - 1)], string.Join(by, parts[(count - 1)..])];
    }

    private static List<object?> SplitOnSpaces(string text, int count)
    {
        var parts = new List<object?>();
        string rest = text.TrimStart();
        while (rest.Length > 0)
        {
            int end = 0;
            while (end < rest.Length && !char.IsWhiteSpace(rest[end]))
            {
                end++;
            }

            if (parts.Count + 1 == count)
            {
                parts.Add(rest.TrimEnd());
                break;
            }

            parts.Add(rest[..end]);
            rest = rest[end..].TrimStart();
        }

        return parts;
    }

    private static List<object?> SplitLines(string text)
    {
        List<object?> lines = [.. text.Replace("\r\n", "\n", StringComparison.Ordinal).Split('\n', '\r')];
        if (lines is [.., ""])
        {
            lines.RemoveAt(lines.Count - 1);
        }

        return lines;
    }

    private static TupleValue Partition(string text, string by, int at, string first, string middle, string last) =>
        at < 0 ? new TupleValue([first, middle, last]) : new TupleValue([text[..at], by, text[(at + by.Length)..]]);

    private static int Count(string text, string part)
    {
        if (part.Length == 0)
        {
            return text.Length + 1;
        }

        int count = 0;
        for (int at = text.IndexOf(part, StringComparison.Ordinal); at >= 0; at = text.IndexOf(part, at + part.Length, StringComparison.Ordinal))
        {
            count++;
        }

        return count;
    }

    /// <summary>str.format with {}, {0} and {name}; format specifications are not known.</summary>
    private static string Format(string text, IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named)
    {
        var result = new System.Text.StringBuilder();
        int next = 0;
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] is '{' or '}' && i + 1 < text.Length && text[i + 1] == text[i])
            {
                result.Append(text[i++]);
                continue;
            }

            int end = text[i] == '{' ? text.IndexOf('}', i) : -1;
            if (end < 0)
            {
                result.Append(text[i]);
                continue;
            }

            string key = text[(i + 1)..end];
            object? value = key.Length == 0 ? arguments.ElementAtOrDefault(next++)
                : int.TryParse(key, CultureInfo.InvariantCulture, out int index) ? arguments.ElementAtOrDefault(index)
                : named.TryGetValue(key, out object? found) ? found
                : throw new ChatTemplateException($"KeyError: '{key}'");
            result.Append(Values.Text(value));
            i = end;
        }

        return result.ToString();
    }
}
