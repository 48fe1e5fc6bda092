using System.Globalization;

namespace Nibble.Modeling.ChatTemplates;

/// <summary>Attributes, items and methods of template values; nothing that changes a value is among them.</summary>
internal static class Members
{
    private static readonly HashSet<string> Forbidden = ["append", "extend", "insert", "remove", "sort", "reverse", "clear", "update", "pop", "popitem", "setdefault"];

    /// <summary><c>value.key</c>: a method first, then an item.</summary>
    public static object? Attribute(object? value, string key)
    {
        _ = value is Undefined ? Operators.Defined(value) : null;
        Callable? method = value switch
        {
            string text => StringMethods.Find(text, key),
            DictValue dict => DictMethod(dict, key),
            List<object?> list => ListMethod(list, key),
            _ => null,
        };
        if (method is not null)
        {
            return method;
        }

        if (value is DictValue or List<object?> && Forbidden.Contains(key) && !(value is DictValue own && own.ContainsKey(key)))
        {
            return new Callable((_, _) => throw new ChatTemplateException($"SecurityError: '{key}' would change a {Values.TypeName(value)}, which templates must not"));
        }

        return value switch
        {
            DictValue dict => dict.TryGetValue(key, out object? item) ? item : Missing(value, key),
            NamespaceValue space => space.Values.TryGetValue(key, out object? item) ? item : Missing(value, key),
            LoopContext loop => loop.Values.TryGetValue(key, out object? item) ? item : Missing(value, key),
            _ => Missing(value, key),
        };
    }

    /// <summary><c>value[key]</c>: an item first, then an attribute.</summary>
    public static object? Item(object? value, object? key)
    {
        Operators.Defined(value);
        switch (value, Values.Numeric(key))
        {
            case (DictValue dict, not null) when key is not Undefined:
                return dict.TryGetValue(key!, out object? item) ? item : key is string call && DictMethod(dict, call) is { } method ? method : Missing(value, Values.Text(key));
            case (List<object?> or string, long index):
                List<object?> items = Values.Items(value);
                index = index < 0 ? index + items.Count : index;
                return index >= 0 && index < items.Count ? items[(int)index] : Missing(value, index.ToString(CultureInfo.InvariantCulture));
            case (_, string name):
                return Attribute(value, name);
            default:
                return Missing(value, Values.Text(key));
        }
    }

    private static Undefined Missing(object? value, string key) => new($"{Values.TypeName(value)} object has no attribute '{key}'");

    private static Callable? DictMethod(DictValue dict, string key) => key switch
    {
        "items" => (_, _) => dict.Select(entry => (object?)new TupleValue([entry.Key, entry.Value])).ToList(),
        "keys" => (_, _) => dict.Keys.Cast<object?>().ToList(),
        "values" => (_, _) => dict.Values.ToList(),
        "get" => (arguments, _) => arguments[0] is { } name && dict.TryGetValue(name, out object? value) ? value : arguments.Count > 1 ? arguments[1] : null,
        "copy" => (_, _) => Values.ToDict(dict.Select(entry => ((string)entry.Key, entry.Value))),
        _ => null,
    };

    private static Callable? ListMethod(List<object?> list, string key) => key switch
    {
        "index" => (arguments, _) => list.FindIndex(item => Values.AreEqual(item, arguments[0])) is >= 0 and int index
            ? (long)index
            : throw new ChatTemplateException($"ValueError: {Values.Repr(arguments[0])} is not in list"),
        "count" => (arguments, _) => (long)list.Count(item => Values.AreEqual(item, arguments[0])),
        "copy" => (_, _) => list.ToList(),
        _ => null,
    };
}
