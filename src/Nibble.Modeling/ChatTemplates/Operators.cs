using System.Globalization;
using System.Text;

namespace Nibble.Modeling.ChatTemplates;

/// <summary>Python's operators on template values.</summary>
internal static class Operators
{
    public static object? Unary(string op, object? value)
    {
        if (op == "not")
        {
            return !Values.IsTrue(value);
        }

        return (op, Values.Numeric(Defined(value))) switch
        {
            ("-", long number) => -number,
            ("-", double number) => -number,
            ("+", long or double) => value,
            _ => throw new ChatTemplateException($"TypeError: bad operand type for unary {op}: '{Values.TypeName(value)}'"),
        };
    }

    public static object? Binary(string op, object? left, object? right)
    {
        if (op == "~")
        {
            return Joined(Values.Text(left), Values.Text(right));
        }

        (left, right) = (Values.Numeric(Defined(left)), Values.Numeric(Defined(right)));
        return (op, left, right) switch
        {
            ("+", string a, string b) => Joined(a, b),
            ("+", TupleValue a, TupleValue b) => new TupleValue(a.Concat(b)),
            ("+", List<object?> a, List<object?> b) when a is not TupleValue && b is not TupleValue => Sized(a.Concat(b).ToList()),
            ("+", string, _) => throw new ChatTemplateException($"TypeError: can only concatenate str (not \"{Values.TypeName(right)}\") to str"),
            ("*", string a, long b) => Repeat(a, b),
            ("*", long a, string b) => Repeat(b, a),
            ("*", List<object?> a, long b) => RepeatList(a, b),
            ("%", string format, _) => Format(format, right is TupleValue tuple ? tuple : [right]),
            (_, long a, long b) => Integers(op, a, b),
            (_, long or double, long or double) => Floats(op, Values.ToDouble(left), Values.ToDouble(right)),
            _ => throw new ChatTemplateException($"TypeError: unsupported operand type(s) for {op}: '{Values.TypeName(left)}' and '{Values.TypeName(right)}'"),
        };
    }

    public static bool Compare(string op, object? left, object? right) => op switch
    {
        "==" => Values.AreEqual(left, right),
        "!=" => !Values.AreEqual(left, right),
        "in" => Contains(right, left),
        "not in" => !Contains(right, left),
        "<" => Values.Compare(Defined(left), Defined(right)) < 0,
        "<=" => Values.Compare(Defined(left), Defined(right)) <= 0,
        ">" => Values.Compare(Defined(left), Defined(right)) > 0,
        _ => Values.Compare(Defined(left), Defined(right)) >= 0,
    };

    public static object? Slice(object? value, object? start, object? stop, object? step)
    {
        long by = step is null ? 1 : Index(step);
        if (by == 0)
        {
            throw new ChatTemplateException("ValueError: slice step cannot be zero");
        }

        List<object?> items = Values.Items(Defined(value));
        long count = items.Count;
        long Clamp(object? bound, long fallback)
        {
            if (bound is null)
            {
                return fallback;
            }

            long index = Index(bound);
            index = index < 0 ? index + count : index;
            return by > 0 ? Math.Clamp(index, 0, count) : Math.Clamp(index, -1, count - 1);
        }

        long first = Clamp(start, by > 0 ? 0 : count - 1);
        long last = Clamp(stop, by > 0 ? count : -1);
        var picked = new List<object?>();
        for (long i = first; by > 0 ? i < last : i > last; i += by)
        {
            picked.Add(items[(int)i]);
        }

        return value switch
        {
            string => string.Concat(picked.Cast<string>()),
            TupleValue => new TupleValue(picked),
            _ => picked,
        };
    }

    /// <summary>An Undefined cannot be worked with.</summary>
    public static object? Defined(object? value) =>
        value is Undefined undefined ? throw new ChatTemplateException($"UndefinedError: '{undefined.Name}' is undefined") : value;

    public static long Index(object? value) => Values.Numeric(value) is long index
        ? index
        : throw new ChatTemplateException($"TypeError: an integer is needed, not '{Values.TypeName(value)}'");

    /// <summary>printf-style formatting: %s, %r, %d, %i, %f, %x with flags, width and precision.</summary>
    public static string Format(string format, IReadOnlyList<object?> arguments)
    {
        var text = new StringBuilder();
        int next = 0;
        for (int i = 0; i < format.Length; i++)
        {
            if (format[i] != '%')
            {
                text.Append(format[i]);
                continue;
            }

            int start = ++i;
            while (i < format.Length && (char.IsAsciiDigit(format[i]) || format[i] is '-' or '+' or ' ' or '.'))
            {
                i++;
            }

            if (i >= format.Length)
            {
                throw new ChatTemplateException("ValueError: incomplete format");
            }

            if (format[i] == '%')
            {
                text.Append('%');
                continue;
            }

            object? value = next < arguments.Count ? arguments[next++] : throw new ChatTemplateException("TypeError: not enough arguments for format string");
            text.Append(Pad(Formatted(format[i], format[start..i], value), format[start..i]));
        }

        return text.ToString();
    }

    private static string Formatted(char kind, string flags, object? value)
    {
        int dot = flags.IndexOf('.', StringComparison.Ordinal);
        int precision = dot >= 0 && int.TryParse(flags.AsSpan(dot + 1), out int digits) ? Math.Min(digits, 100) : -1;
        return kind switch
        {
            's' => Values.Text(value),
            'r' => Values.Repr(value),
            'd' or 'i' => ((long)Values.ToDouble(value)).ToString(CultureInfo.InvariantCulture),
            'x' => Index(value).ToString("x", CultureInfo.InvariantCulture),
            'f' => Values.ToDouble(value).ToString($"F{(precision < 0 ? 6 : precision)}", CultureInfo.InvariantCulture),
            _ => throw new ChatTemplateException($"ValueError: unsupported format character '{kind}'"),
        };
    }

    private static string Pad(string text, string flags)
    {
        string digits = string.Concat(flags.TakeWhile(c => c != '.').Where(char.IsAsciiDigit));
        if (!int.TryParse(digits, CultureInfo.InvariantCulture, out int width))
        {
            return text;
        }

        Budget.RequireSize(width);
        return flags.Contains('-', StringComparison.Ordinal) ? text.PadRight(width) : text.PadLeft(width, flags.StartsWith('0') ? '0' : ' ');
    }

    private static bool Contains(object? container, object? item) => container switch
    {
        string text => item is string part
            ? text.Contains(part, StringComparison.Ordinal)
            : throw new ChatTemplateException($"TypeError: 'in <string>' requires string as left operand, not {Values.TypeName(item)}"),
        DictValue dict => item is not null && item is not Undefined && dict.ContainsKey(item),
        LoopContext or NamespaceValue => false,
        var other => Values.Items(other).Any(element => Values.AreEqual(element, item)),
    };

    private static object Integers(string op, long a, long b)
    {
        try
        {
            return checked(op switch
            {
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                "/" => b == 0 ? throw DivisionByZero() : (object)((double)a / b),
                "//" => b == 0 ? throw DivisionByZero() : FloorDivide(a, b),
                "%" => b == 0 ? throw DivisionByZero() : a - (FloorDivide(a, b) * b),
                "**" => Power(a, b),
                _ => throw new InvalidOperationException(op),
            });
        }
        catch (OverflowException)
        {
            throw new ChatTemplateException($"the template computes {a} {op} {b}, which does not fit into 64 bits");
        }
    }

    private static object Power(long a, long b)
    {
        if (b < 0)
        {
            return Math.Pow(a, b);
        }

        long result = 1;
        for (long i = 0; i < b && result != 0 && !(a == 1); i++)
        {
            result = checked(result * a);
            if (a == -1 && i > 1)
            {
                return b % 2 == 0 ? 1L : -1L;
            }
        }

        return result;
    }

    private static double Floats(string op, double a, double b) => op switch
    {
        "+" => a + b,
        "-" => a - b,
        "*" => a * b,
        "/" => b == 0 ? throw DivisionByZero() : a / b,
        "//" => b == 0 ? throw DivisionByZero() : Math.Floor(a / b),
        "%" => b == 0 ? throw DivisionByZero() : a - (Math.Floor(a / b) * b),
        _ => Math.Pow(a, b),
    };

    private static ChatTemplateException DivisionByZero() => new("ZeroDivisionError: division by zero");

    private static long FloorDivide(long a, long b) => (a / b) - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);

    private static string Joined(string a, string b)
    {
        Budget.RequireSize((long)a.Length + b.Length);
        return a + b;
    }

    private static string Repeat(string text, long count)
    {
        count = Math.Max(0, count);
        Budget.RequireSize(text.Length == 0 ? 0 : (long)Math.Min((double)text.Length * count, long.MaxValue / 2));
        return text.Length == 0 ? "" : new StringBuilder(text.Length * (int)count).Insert(0, text, (int)count).ToString();
    }

    private static List<object?> RepeatList(List<object?> list, long count)
    {
        Budget.RequireSize((long)Math.Min((double)list.Count * Math.Max(0, count), long.MaxValue / 2));
        IEnumerable<object?> items = list.Count == 0 ? [] : Enumerable.Repeat(list, (int)Math.Max(0, count)).SelectMany(item => item);
        return list is TupleValue ? new TupleValue(items) : [.. items];
    }

    private static List<object?> Sized(List<object?> list)
    {
        Budget.RequireSize(list.Count);
        return list;
    }
}
