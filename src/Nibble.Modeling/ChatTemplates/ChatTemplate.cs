using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace Nibble.Modeling.ChatTemplates;

/// <summary>A conversation as text.</summary>
/// <param name="Text">The text.</param>
/// <param name="GenerationSpans">UTF-16 ranges that the template marks as the assistant's, end exclusive.</param>
public sealed record RenderedChat(string Text, IReadOnlyList<(int Start, int End)> GenerationSpans);

/// <summary>
/// A chat template in the part of Jinja that models use, run as transformers runs it: in a sandbox, with bounds on time and size.
/// </summary>
public sealed class ChatTemplate
{
    private readonly IReadOnlyList<Node> nodes;

    private ChatTemplate(IReadOnlyList<Node> nodes, bool marksGeneration)
    {
        this.nodes = nodes;
        MarksGeneration = marksGeneration;
    }

    /// <summary>Whether the template says which parts are the assistant's.</summary>
    public bool MarksGeneration { get; }

    /// <summary>Parses a template.</summary>
    /// <exception cref="ChatTemplateException">It is malformed, or uses what is not supported.</exception>
    public static ChatTemplate Parse(string source)
    {
        ArgumentNullException.ThrowIfNull(source);
        IReadOnlyList<Node> nodes = Parser.Parse(source);
        return new ChatTemplate(nodes, source.Contains("endgeneration", StringComparison.Ordinal));
    }

    /// <summary>Renders a conversation.</summary>
    /// <param name="messages">Objects with role and content.</param>
    /// <param name="variables">What else the template reads, such as <c>add_generation_prompt</c>, <c>tools</c>, <c>bos_token</c>.</param>
    /// <param name="now">What <c>strftime_now</c> tells; null for the present.</param>
    /// <exception cref="ChatTemplateException">The template failed, refused the messages, or spent more than it may.</exception>
    public RenderedChat Render(JsonArray messages, JsonObject? variables = null, DateTime? now = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        var scope = new Scope(Globals(now ?? DateTime.Now));
        scope["messages"] = Values.FromJson(messages);
        foreach ((string name, JsonNode? value) in variables ?? [])
        {
            scope[name] = Values.FromJson(value);
        }

        var interpreter = new Interpreter();
        try
        {
            string text = interpreter.Run(nodes, scope);
            return new RenderedChat(text, interpreter.Generations);
        }
        catch (Exception exception) when (exception is ArgumentOutOfRangeException or InvalidCastException or KeyNotFoundException or OverflowException)
        {
            throw new ChatTemplateException($"the template called something with wrong arguments ({exception.Message})");
        }
    }

    private static Scope Globals(DateTime now)
    {
        var globals = new Scope(null);
        globals["raise_exception"] = new Callable((arguments, _) => throw new ChatTemplateException(Values.Text(arguments[0]), raisedByTemplate: true));
        globals["strftime_now"] = new Callable((arguments, _) => FormatTime(now, Values.Text(arguments[0])));
        globals["range"] = new Callable((arguments, _) => Range([.. arguments.Select(Operators.Index)]));
        globals["dict"] = new Callable((arguments, named) => Values.ToDict([.. arguments.OfType<DictValue>().SelectMany(dict => dict).Select(entry => ((string)entry.Key, entry.Value)), .. named.Select(item => (item.Key, item.Value))]));
        globals["namespace"] = new Callable((arguments, named) =>
        {
            var space = new NamespaceValue();
            foreach ((object key, object? value) in arguments.OfType<DictValue>().SelectMany(dict => dict).Concat(named.Select(item => KeyValuePair.Create((object)item.Key, item.Value))))
            {
                space.Values[key] = value;
            }

            return space;
        });
        return globals;
    }

    private static List<object?> Range(long[] bounds)
    {
        (long start, long stop, long step) = bounds switch
        {
            [long end] => (0L, end, 1L),
            [long first, long end] => (first, end, 1L),
            [long first, long end, long by] when by != 0 => (first, end, by),
            _ => throw new ChatTemplateException("ValueError: range() takes one to three integers, the step not zero"),
        };
        double count = Math.Ceiling(((double)stop - start) / step);
        if (count > Budget.LongestRange)
        {
            throw new ChatTemplateException($"OverflowError: range() of {count:0} items; at most {Budget.LongestRange} are allowed");
        }

        return [.. Enumerable.Range(0, Math.Max(0, (int)count)).Select(i => (object?)(start + (i * step)))];
    }

    private static string FormatTime(DateTime time, string format)
    {
        var text = new StringBuilder();
        for (int i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 >= format.Length)
            {
                text.Append(format[i]);
                continue;
            }

            bool unpadded = format[++i] == '-' && i + 1 < format.Length;
            char code = unpadded ? format[++i] : format[i];
            string part = code switch
            {
                'Y' => time.ToString("yyyy", CultureInfo.InvariantCulture),
                'y' => time.ToString("yy", CultureInfo.InvariantCulture),
                'm' => time.ToString("MM", CultureInfo.InvariantCulture),
                'd' => time.ToString("dd", CultureInfo.InvariantCulture),
                'H' => time.ToString("HH", CultureInfo.InvariantCulture),
                'I' => time.ToString("hh", CultureInfo.InvariantCulture),
                'M' => time.ToString("mm", CultureInfo.InvariantCulture),
                'S' => time.ToString("ss", CultureInfo.InvariantCulture),
                'p' => time.Hour < 12 ? "AM" : "PM",
                'j' => time.DayOfYear.ToString("000", CultureInfo.InvariantCulture),
                'B' => time.ToString("MMMM", CultureInfo.InvariantCulture),
                'b' => time.ToString("MMM", CultureInfo.InvariantCulture),
                'A' => time.ToString("dddd", CultureInfo.InvariantCulture),
                'a' => time.ToString("ddd", CultureInfo.InvariantCulture),
                '%' => "%",
                _ => throw new ChatTemplateException($"ValueError: strftime_now does not know '%{code}'"),
            };
            text.Append(unpadded ? part.TrimStart('0') : part);
        }

        return text.ToString();
    }
}
