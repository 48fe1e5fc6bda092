using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Modeling.ChatTemplates;

/// <summary>What a name stands for that nobody defined: empty when printed or looped over, an error when used.</summary>
internal sealed record Undefined(string Name);

/// <summary>A Python tuple; differs from a list in how it prints.</summary>
internal sealed class TupleValue(IEnumerable<object?> items) : List<object?>(items);

/// <summary>A Python dictionary: keys in the order of their insertion.</summary>
internal sealed class DictValue : OrderedDictionary<object, object?>;

/// <summary>The one kind of value that templates may change.</summary>
internal sealed class NamespaceValue
{
    public DictValue Values { get; } = [];
}

/// <summary>Something that can be called.</summary>
internal delegate object? Callable(IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named);

/// <summary>Python's rules for the values that templates handle: null, bool, long, double, string, lists, tuples, dictionaries.</summary>
internal static class Values
{
    public static object? FromJson(JsonNode? node) => node switch
    {
        null => null,
        JsonArray array => array.Select(FromJson).ToList(),
        JsonObject entries => ToDict(entries.Select(entry => (entry.Key, FromJson(entry.Value)))),
        JsonValue value => value.GetValueKind() switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.String => value.GetValue<string>(),
            _ => Number(value.ToJsonString()),
        },
        _ => throw new ChatTemplateException($"a value of kind {node.GetValueKind()} cannot be used"),
    };

    public static DictValue ToDict(IEnumerable<(string Key, object? Value)> entries)
    {
        var dict = new DictValue();
        foreach ((string key, object? value) in entries)
        {
            dict[key] = value;
        }

        return dict;
    }

    public static bool IsTrue(object? value) => value switch
    {
        null or Undefined => false,
        bool flag => flag,
        long number => number != 0,
        double number => number != 0,
        string text => text.Length > 0,
        List<object?> list => list.Count > 0,
        DictValue dict => dict.Count > 0,
        _ => true,
    };

    /// <summary>str(value)</summary>
    public static string Text(object? value) => value switch
    {
        string text => text,
        Undefined => "",
        _ => Repr(value),
    };

    /// <summary>repr(value)</summary>
    public static string Repr(object? value)
    {
        RequireModest(value);
        return Represent(value);
    }

    private static string Represent(object? value) => value switch
    {
        null => "None",
        bool flag => flag ? "True" : "False",
        long number => number.ToString(CultureInfo.InvariantCulture),
        double number => Float(number),
        string text => Quote(text),
        TupleValue { Count: 1 } tuple => $"({Represent(tuple[0])},)",
        TupleValue tuple => $"({string.Join(", ", tuple.Select(Represent))})",
        List<object?> list => $"[{string.Join(", ", list.Select(Represent))}]",
        DictValue dict => $"{{{string.Join(", ", dict.Select(entry => $"{Represent(entry.Key)}: {Represent(entry.Value)}"))}}}",
        Undefined => "Undefined",
        _ => $"<{TypeName(value)}>",
    };

    public static string TypeName(object? value) => value switch
    {
        null => "NoneType",
        bool => "bool",
        long => "int",
        double => "float",
        string => "str",
        TupleValue => "tuple",
        List<object?> => "list",
        DictValue => "dict",
        Undefined => "Undefined",
        NamespaceValue => "Namespace",
        _ => "function",
    };

    public static bool AreEqual(object? left, object? right)
    {
        RequireModest(left);
        return Same(left, right);
    }

    private static bool Same(object? left, object? right)
    {
        (left, right) = (Numeric(left), Numeric(right));
        return (left, right) switch
        {
            (Undefined, Undefined) => true,
            (long a, double b) => a == b,
            (double a, long b) => a == b,
            (List<object?> a, List<object?> b) => a is TupleValue == b is TupleValue && a.Count == b.Count && a.Zip(b).All(pair => Same(pair.First, pair.Second)),
            (DictValue a, DictValue b) => a.Count == b.Count && a.All(entry => b.TryGetValue(entry.Key, out object? other) && Same(entry.Value, other)),
            _ => Equals(left, right),
        };
    }

    public static int Compare(object? left, object? right)
    {
        RequireModest(left);
        return Order(left, right);
    }

    private static int Order(object? left, object? right) => (Numeric(left), Numeric(right)) switch
    {
        (long a, long b) => a.CompareTo(b),
        (long or double, long or double) => ToDouble(left).CompareTo(ToDouble(right)),
        (string a, string b) => string.CompareOrdinal(a, b),
        (List<object?> a, List<object?> b) => CompareLists(a, b),
        _ => throw new ChatTemplateException($"TypeError: '{TypeName(left)}' and '{TypeName(right)}' cannot be ordered"),
    };

    public static double ToDouble(object? value) => Numeric(value) switch
    {
        long number => number,
        double number => number,
        _ => throw new ChatTemplateException($"TypeError: a number is needed, not '{TypeName(value)}'"),
    };

    /// <summary>What a loop over the value sees.</summary>
    public static List<object?> Items(object? value) => value switch
    {
        List<object?> list => list,
        DictValue dict => [.. dict.Keys],
        string text => [.. text.EnumerateRunes().Select(rune => rune.ToString())],
        Undefined => [],
        _ => throw new ChatTemplateException($"TypeError: '{TypeName(value)}' object is not iterable"),
    };

    /// <summary>A bool counts as 0 or 1 in arithmetic and comparison.</summary>
    public static object? Numeric(object? value) => value is bool flag ? (flag ? 1L : 0L) : value;

    /// <summary>json.dumps(value, ensure_ascii=False, ...)</summary>
    public static string Json(object? value, string? indent, string itemSeparator, string keySeparator, bool sortKeys)
    {
        RequireModest(value);
        return Json(value, indent, itemSeparator, keySeparator, sortKeys, depth: 0);
    }

    /// <summary>Refuses a value that is too deep or too large to be gone through; one that holds itself twice, and so on, is vast in little memory.</summary>
    private static void RequireModest(object? value)
    {
        const int Deepest = 100;
        long size = 0;
        Budget.RequireStack();
        Visit(value, Deepest);

        void Visit(object? item, int levels)
        {
            if (levels == 0)
            {
                throw new ChatTemplateException($"the template makes a value that nests deeper than {Deepest} levels");
            }

            Budget.RequireSize(size += item is string text ? text.Length : 1);
            foreach (object? inner in item is List<object?> list ? list : item is DictValue dict ? dict.Values : Enumerable.Empty<object?>())
            {
                Visit(inner, levels - 1);
            }
        }
    }

    private static string Json(object? value, string? indent, string itemSeparator, string keySeparator, bool sortKeys, int depth)
    {
        string Lines(IEnumerable<string> items, char open, char close)
        {
            List<string> all = [.. items];
            if (all.Count == 0)
            {
                return $"{open}{close}";
            }

            if (indent is null)
            {
                return $"{open}{string.Join(itemSeparator, all)}{close}";
            }

            string inner = "\n" + string.Concat(Enumerable.Repeat(indent, depth + 1));
            return $"{open}{inner}{string.Join(itemSeparator.TrimEnd() + inner, all)}\n{string.Concat(Enumerable.Repeat(indent, depth))}{close}";
        }

        return value switch
        {
            null => "null",
            bool flag => flag ? "true" : "false",
            string text => JsonString(text),
            long or double => Repr(value) switch
            {
                "nan" => "NaN",
                "inf" => "Infinity",
                "-inf" => "-Infinity",
                string number => number,
            },
            List<object?> list => Lines(list.Select(item => Json(item, indent, itemSeparator, keySeparator, sortKeys, depth + 1)), '[', ']'),
            DictValue dict => Lines(
                (sortKeys ? dict.OrderBy(entry => Text(entry.Key), StringComparer.Ordinal).AsEnumerable() : dict)
                    .Select(entry => JsonString(entry.Key is bool or null ? Json(entry.Key, null, "", "", false, depth: 0) : Text(entry.Key)) + keySeparator + Json(entry.Value, indent, itemSeparator, keySeparator, sortKeys, depth + 1)),
                '{',
                '}'),
            _ => throw new ChatTemplateException($"TypeError: Object of type {TypeName(value)} is not JSON serializable"),
        };
    }

    private static int CompareLists(List<object?> a, List<object?> b)
    {
        for (int i = 0; i < Math.Min(a.Count, b.Count); i++)
        {
            if (Order(a[i], b[i]) is not 0 and int order)
            {
                return order;
            }
        }

        return a.Count.CompareTo(b.Count);
    }

    private static object Number(string text) =>
        long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long integer) ? integer : (object)double.Parse(text, CultureInfo.InvariantCulture);

    /// <summary>Python's shortest form of a float.</summary>
    private static string Float(double value)
    {
        if (double.IsNaN(value))
        {
            return "nan";
        }

        if (double.IsInfinity(value))
        {
            return value > 0 ? "inf" : "-inf";
        }

        string text = value.ToString("E16", CultureInfo.InvariantCulture);
        string shortest = value.ToString("R", CultureInfo.InvariantCulture);
        int exponent = int.Parse(text.AsSpan(text.IndexOf('E', StringComparison.Ordinal) + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        if (value == 0 || exponent is >= -4 and < 16)
        {
            string plain = shortest.Contains('E', StringComparison.Ordinal) ? ((decimal)value).ToString(CultureInfo.InvariantCulture) : shortest;
            return plain.Contains('.', StringComparison.Ordinal) ? plain : plain + ".0";
        }

        string digits = string.Concat(shortest.Split('E')[0].Where(char.IsAsciiDigit)).Trim('0');
        string sign = value < 0 ? "-" : "";
        string mantissa = digits.Length > 1 ? $"{digits[0]}.{digits[1..]}" : digits;
        return string.Create(CultureInfo.InvariantCulture, $"{sign}{mantissa}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}");
    }

    private static string Quote(string text)
    {
        char quote = text.Contains('\'', StringComparison.Ordinal) && !text.Contains('"', StringComparison.Ordinal) ? '"' : '\'';
        var result = new StringBuilder().Append(quote);
        foreach (Rune rune in text.EnumerateRunes())
        {
            result.Append(rune.Value switch
            {
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\\' => "\\\\",
                int c when c == quote => "\\" + quote,
                < 32 or 127 => string.Create(CultureInfo.InvariantCulture, $"\\x{rune.Value:x2}"),
                0xA0 => "\\xa0",
                _ => rune.ToString(),
            });
        }

        return result.Append(quote).ToString();
    }

    private static string JsonString(string text)
    {
        var result = new StringBuilder("\"");
        foreach (char c in text)
        {
            result.Append(c switch
            {
                '"' => "\\\"",
                '\\' => "\\\\",
                '\n' => "\\n",
                '\r' => "\\r",
                '\t' => "\\t",
                '\b' => "\\b",
                '\f' => "\\f",
                < ' ' => string.Create(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                _ => c.ToString(),
            });
        }

        return result.Append('"').ToString();
    }
}
