using System.Globalization;

namespace Nibble.Modeling.ChatTemplates;

/// <summary>Jinja's filters and tests.</summary>
internal sealed class Filters(Budget budget)
{
    public object? Apply(string name, object? value, IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named)
    {
        object? Argument(int index, string key, object? fallback = null) =>
            index < arguments.Count ? arguments[index] : named.TryGetValue(key, out object? given) ? given : fallback;

        switch (name)
        {
            case "default" or "d":
                bool replace = value is Undefined || (Values.IsTrue(Argument(1, "boolean", false)) && !Values.IsTrue(value));
                return replace ? Argument(0, "default_value", "") : value;
            case "length" or "count":
                return value is string text ? text.EnumerateRunes().Count() : (long)Items(value).Count;
            case "first":
                return Items(value) is [var first, ..] ? first : new Undefined("first");
            case "last":
                return Items(value) is [.., var last] ? last : new Undefined("last");
            case "list":
                return Items(value).ToList();
            case "string":
                return Values.Text(value);
            case "safe" or "escape" or "e" or "forceescape":
                return name == "safe" ? Values.Text(value) : Escape(Values.Text(value));
            case "trim":
                return Argument(0, "chars") is string characters ? Values.Text(value).Trim(characters.ToCharArray()) : Values.Text(value).Trim();
            case "upper":
                return Values.Text(value).ToUpperInvariant();
            case "lower":
                return Values.Text(value).ToLowerInvariant();
            case "title":
                return StringMethods.Title(Values.Text(value));
            case "capitalize":
                return StringMethods.Capitalize(Values.Text(value));
            case "replace":
                return StringMethods.Replace(Values.Text(value), Values.Text(Argument(0, "old")), Values.Text(Argument(1, "new")), Argument(2, "count") is { } count ? Operators.Index(count) : -1);
            case "join":
                return Join(Items(value), Values.Text(Argument(0, "d", "")), Argument(1, "attribute"));
            case "tojson":
                return ToJson(value, Argument(0, "indent"), named);
            case "indent":
                return Indent(Values.Text(value), Argument(0, "width", 4L), Values.IsTrue(Argument(1, "first", false)), Values.IsTrue(Argument(2, "blank", false)));
            case "int":
                return ToInteger(value, Argument(0, "default", 0L));
            case "float":
                return ToFloat(value, Argument(0, "default", 0.0));
            case "abs":
                return Values.Numeric(value) is long integer ? Math.Abs(integer) : Math.Abs(Values.ToDouble(value));
            case "round":
                return Round(Values.ToDouble(value), (int)Operators.Index(Argument(0, "precision", 0L)), Values.Text(Argument(1, "method", "common")));
            case "items":
                return value is Undefined ? new List<object?>() : Pairs(value);
            case "dictsort":
                return Pairs(value).OrderBy(pair => Fold(((TupleValue)pair!)[Values.Text(Argument(1, "by", "key")) == "value" ? 1 : 0], Values.IsTrue(Argument(0, "case_sensitive", false))), Order).ToList();
            case "sort":
                return Sort(Items(value), Values.IsTrue(Argument(0, "reverse", false)), Values.IsTrue(Argument(1, "case_sensitive", false)), Argument(2, "attribute"));
            case "reverse":
                return value is string reversed ? string.Concat(reversed.EnumerateRunes().Reverse().Select(rune => rune.ToString())) : Enumerable.Reverse(Items(value)).ToList();
            case "unique":
                return Unique(Items(value));
            case "min" or "max":
                List<object?> ordered = [.. Items(value).Order(Order)];
                return ordered.Count == 0 ? new Undefined(name) : name == "min" ? ordered[0] : ordered[^1];
            case "sum":
                return Items(value).Select(item => Argument(0, "attribute") is { } key ? Path(item, key) : item).Aggregate(Argument(1, "start", 0L), (sum, item) => Operators.Binary("+", sum, item));
            case "map":
                return Map(Items(value), arguments, named);
            case "select" or "reject":
                return Select(Items(value), item => item, arguments, 0, name == "select");
            case "selectattr" or "rejectattr":
                return Select(Items(value), item => Path(item, arguments[0]), arguments, 1, name == "selectattr");
            case "wordcount":
                return (long)Values.Text(value).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length;
            case "format":
                return Operators.Format(Values.Text(value), arguments);
            case "attr":
                return Members.Attribute(value, Values.Text(arguments[0]));
            case "urlencode":
                return Uri.EscapeDataString(Values.Text(value)).Replace("%2F", "/", StringComparison.Ordinal);
            default:
                throw new ChatTemplateException($"the filter '{name}' is not supported");
        }
    }

    public static bool Test(string name, object? value, IReadOnlyList<object?> arguments)
    {
        switch (name)
        {
            case "defined":
                return value is not Undefined;
            case "undefined":
                return value is Undefined;
            case "none":
                return value is null;
            case "true":
                return value is true;
            case "false":
                return value is false;
            case "boolean":
                return value is bool;
            case "integer":
                return value is long;
            case "float":
                return value is double;
            case "number":
                return value is long or double or bool;
            case "string":
                return value is string;
            case "mapping":
                return value is DictValue;
            case "sequence":
                return value is string or List<object?> or DictValue or Undefined;
            case "iterable":
                return value is string or List<object?> or DictValue or Undefined;
            case "callable":
                return value is Callable or LoopContext;
            case "odd":
                return Operators.Index(value) % 2 != 0;
            case "even":
                return Operators.Index(value) % 2 == 0;
            case "divisibleby":
                return Operators.Index(value) % Operators.Index(arguments[0]) == 0;
            case "lower":
                return value is string low && !low.Any(char.IsUpper);
            case "upper":
                return value is string up && !up.Any(char.IsLower);
            case "sameas":
                return ReferenceEquals(value, arguments[0]) || (value is bool or null && Equals(value, arguments[0]));
            case "in":
                return Operators.Compare("in", value, arguments[0]);
            case "eq" or "equalto" or "==":
                return Values.AreEqual(value, arguments[0]);
            case "ne" or "!=":
                return !Values.AreEqual(value, arguments[0]);
            case "lt" or "lessthan" or "<":
                return Operators.Compare("<", value, arguments[0]);
            case "le" or "<=":
                return Operators.Compare("<=", value, arguments[0]);
            case "gt" or "greaterthan" or ">":
                return Operators.Compare(">", value, arguments[0]);
            case "ge" or ">=":
                return Operators.Compare(">=", value, arguments[0]);
            default:
                throw new ChatTemplateException($"the test '{name}' is not supported");
        }
    }

    private static readonly Comparer<object?> Order = Comparer<object?>.Create(Values.Compare);

    private List<object?> Items(object? value)
    {
        List<object?> items = Values.Items(value);
        budget.Step(items.Count);
        return items;
    }

    private static List<object?> Pairs(object? value) => value is DictValue dict
        ? [.. dict.Select(entry => new TupleValue([entry.Key, entry.Value]))]
        : throw new ChatTemplateException($"TypeError: can only get item pairs from a mapping, not '{Values.TypeName(value)}'");

    private static object? Fold(object? value, bool caseSensitive) => value is string text && !caseSensitive ? text.ToLowerInvariant() : value;

    /// <summary><c>a.b.0</c> of a value.</summary>
    private static object? Path(object? value, object? path) => path is long index
        ? Members.Item(value, index)
        : Values.Text(path).Split('.').Aggregate(value, (current, part) =>
            long.TryParse(part, CultureInfo.InvariantCulture, out long position) ? Members.Item(current, position) : Members.Item(current, part));

    private static List<object?> Sort(List<object?> items, bool reverse, bool caseSensitive, object? attribute)
    {
        object? Key(object? item) => Fold(attribute is null ? item : Path(item, attribute), caseSensitive);
        return [.. reverse ? items.OrderByDescending(Key, Order) : items.OrderBy(Key, Order)];
    }

    private static List<object?> Unique(List<object?> items)
    {
        var unique = new List<object?>();
        foreach (object? item in items)
        {
            if (!unique.Any(seen => Values.AreEqual(Fold(seen, false), Fold(item, false))))
            {
                unique.Add(item);
            }
        }

        return unique;
    }

    private List<object?> Map(List<object?> items, IReadOnlyList<object?> arguments, IReadOnlyDictionary<string, object?> named)
    {
        if (named.TryGetValue("attribute", out object? attribute))
        {
            return [.. items.Select(item => Path(item, attribute) is Undefined && named.TryGetValue("default", out object? fallback) ? fallback : Path(item, attribute))];
        }

        return [.. items.Select(item => Apply(Values.Text(arguments[0]), item, [.. arguments.Skip(1)], named))];
    }

    private static List<object?> Select(List<object?> items, Func<object?, object?> subject, IReadOnlyList<object?> arguments, int testIndex, bool keep) =>
    [
        .. items.Where(item => keep == (arguments.Count > testIndex
            ? Test(Values.Text(arguments[testIndex]), subject(item), [.. arguments.Skip(testIndex + 1)])
            : Values.IsTrue(subject(item)))),
    ];

    private static string Join(List<object?> items, string separator, object? attribute)
    {
        List<string> texts = [.. items.Select(item => Values.Text(attribute is null ? item : Path(item, attribute)))];
        Budget.RequireSize(texts.Sum(text => (long)text.Length + separator.Length));
        return string.Join(separator, texts);
    }

    private static string ToJson(object? value, object? indent, IReadOnlyDictionary<string, object?> named)
    {
        string? step = indent switch
        {
            null => null,
            string text => text,
            _ => new string(' ', (int)Math.Clamp(Operators.Index(indent), 0, 100)),
        };
        (string item, string key) = named.GetValueOrDefault("separators") is List<object?> { Count: 2 } pair
            ? (Values.Text(pair[0]), Values.Text(pair[1]))
            : (", ", ": ");
        return Values.Json(value, step, item, key, Values.IsTrue(named.GetValueOrDefault("sort_keys")));
    }

    private static string Indent(string text, object? width, bool first, bool blank)
    {
        string prefix = width as string ?? new string(' ', (int)Math.Clamp(Operators.Index(width), 0, 1000));
        string[] lines = text.Split('\n');
        IEnumerable<string> indented = lines.Select((line, index) => (index == 0 && !first) || (line.Length == 0 && !blank && index > 0) ? line : prefix + line);
        return string.Join('\n', indented);
    }

    private static object? ToInteger(object? value, object? fallback) => Values.Numeric(value) switch
    {
        long number => number,
        double number => (long)number,
        string text when long.TryParse(text.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number) => number,
        string text when double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) => (long)number,
        _ => fallback,
    };

    private static object? ToFloat(object? value, object? fallback) => Values.Numeric(value) switch
    {
        long number => (double)number,
        double number => number,
        string text when double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double number) => number,
        _ => fallback,
    };

    private static double Round(double value, int precision, string method)
    {
        double factor = Math.Pow(10, precision);
        return method switch
        {
            "ceil" => Math.Ceiling(value * factor) / factor,
            "floor" => Math.Floor(value * factor) / factor,
            _ => Math.Round(value * factor, MidpointRounding.ToEven) / factor,
        };
    }

    private static string Escape(string text) => text.Replace("&", "&amp;", StringComparison.Ordinal).Replace("<", "&lt;", StringComparison.Ordinal)
        .Replace(">", "&gt;", StringComparison.Ordinal).Replace("'", "&#39;", StringComparison.Ordinal).Replace("\"", "&#34;", StringComparison.Ordinal);
}
