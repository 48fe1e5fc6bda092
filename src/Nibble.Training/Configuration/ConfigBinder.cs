using System.Collections;
using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Nibble.Data;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace Nibble.Training.Configuration;

/// <summary>Reads a <see cref="RunConfig"/> from YAML (of which JSON is a part) and from <c>key=value</c> overrides; unknown keys are errors.</summary>
public static class ConfigBinder
{
    /// <summary>Other names of keys that people know.</summary>
    private static readonly Dictionary<string, string> Aliases = new() { ["lora_r"] = "r" };

    /// <summary>Reads a file and applies overrides such as <c>training.learning_rate=1e-4</c>.</summary>
    /// <exception cref="ArgumentException">A key is unknown or a value does not fit; the message names it.</exception>
    /// <exception cref="InvalidDataException">The file is not YAML.</exception>
    public static RunConfig Load(string? path, IEnumerable<string> overrides)
    {
        ArgumentNullException.ThrowIfNull(overrides);
        object config = new RunConfig();
        if (path is not null)
        {
            config = Bind(config, Parse(path), "");
        }

        foreach (string assignment in overrides)
        {
            int equals = assignment.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0)
            {
                throw new ArgumentException($"'{assignment}' is not of the form key=value.");
            }

            string value = assignment[(equals + 1)..];
            YamlNode node = value.Length == 0 ? new YamlScalarNode("") : ParseText(value, assignment);
            foreach (string key in assignment[..equals].Split('.').Reverse())
            {
                node = new YamlMappingNode(new YamlScalarNode(key), node);
            }

            config = Bind(config, (YamlMappingNode)node, "");
        }

        return (RunConfig)config;
    }

    /// <summary>
    /// A property's name as configuration files spell it: <c>Bnb4bitQuantType</c> is bnb_4bit_quant_type, <c>PagedAdamw32bit</c> is
    /// paged_adamw_32bit, <c>AdamBeta1</c> is adam_beta1.
    /// </summary>
    public static string KeyOf(string property)
    {
        ArgumentNullException.ThrowIfNull(property);
        var key = new StringBuilder();
        for (int i = 0; i < property.Length; i++)
        {
            if (i > 0 && (char.IsUpper(property[i]) || NumbersAWord(property, i)))
            {
                key.Append('_');
            }

            key.Append(char.ToLowerInvariant(property[i]));
        }

        return key.ToString();
    }

    /// <summary>Whether a number begins at i and is followed by a word: 4bit, 32bit, but not beta1.</summary>
    private static bool NumbersAWord(string name, int i)
    {
        string rest = name[i..].TrimStart("0123456789".ToCharArray());
        return char.IsDigit(name[i]) && !char.IsDigit(name[i - 1]) && rest.Length > 0 && char.IsLower(rest[0]);
    }

    /// <summary>Keys and enums in JSON as the configuration file spells them.</summary>
    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = new JsonNames(),
        Converters = { new JsonStringEnumConverter(new JsonNames()) },
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        WriteIndented = true,
    };

    private static readonly JsonSerializerOptions OneLine = new(Json) { WriteIndented = false };

    /// <summary>A configuration, or what contains one, as JSON.</summary>
    public static string ToJson<T>(T value) => JsonSerializer.Serialize(value, Json);

    /// <summary>What <see cref="ToJson"/> wrote; keys of other versions are passed over.</summary>
    /// <exception cref="JsonException">It is something else.</exception>
    public static T? FromJson<T>(string json) => JsonSerializer.Deserialize<T>(json, Json);

    /// <summary>All keys of a configuration, with their sections, and their values as JSON.</summary>
    public static IEnumerable<KeyValuePair<string, string>> Settings(RunConfig config) => Settings(JsonSerializer.SerializeToNode(config, Json));

    /// <summary>The same of a configuration in JSON.</summary>
    internal static IEnumerable<KeyValuePair<string, string>> Settings(JsonNode? node, string path = "") => node is JsonObject section
        ? section.SelectMany(item => Settings(item.Value, path.Length == 0 ? item.Key : $"{path}.{item.Key}"))
        : [KeyValuePair.Create(path, node?.ToJsonString(OneLine) ?? "null")];

    private sealed class JsonNames : JsonNamingPolicy
    {
        public override string ConvertName(string name) => KeyOf(name);
    }

    private static YamlMappingNode Parse(string path)
    {
        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"{path} does not exist.", path);
        }

        YamlNode root = ParseText(File.ReadAllText(path), path);
        return root as YamlMappingNode ?? throw new InvalidDataException($"{path} is not a mapping of keys to values.");
    }

    private static YamlNode ParseText(string text, string where)
    {
        try
        {
            RequireShallow(text, where);
            var stream = new YamlStream();
            stream.Load(new StringReader(text));
            return stream.Documents.Count == 0 ? new YamlMappingNode() : stream.Documents[0].RootNode;
        }
        catch (YamlException exception)
        {
            throw new InvalidDataException($"{where}: line {exception.Start.Line}: {exception.Message}", exception);
        }
    }

    /// <summary>The tree is built by recursion, so what nests too deep must be refused while it is still a stream of events.</summary>
    private static void RequireShallow(string text, string where)
    {
        const int Deepest = 32;
        var parser = new Parser(new StringReader(text));
        for (int depth = 0; parser.MoveNext();)
        {
            depth += parser.Current!.NestingIncrease;
            if (depth > Deepest)
            {
                throw new InvalidDataException($"{where}: line {parser.Current.Start.Line}: nests deeper than {Deepest} levels.");
            }
        }
    }

    /// <summary>A copy of a record with the mapping's values in place of its own.</summary>
    private static object Bind(object section, YamlMappingNode values, string path)
    {
        Dictionary<string, PropertyInfo> keys = Properties(section.GetType());
        object copy = section.GetType().GetMethod("<Clone>$")!.Invoke(section, null)!;
        foreach ((YamlNode keyNode, YamlNode value) in values.Children)
        {
            string key = keyNode.ToString();
            if (!keys.TryGetValue(Aliases.GetValueOrDefault(key, key), out PropertyInfo? property))
            {
                (string place, string name) = NearestName.Of(key, AllKeys(typeof(RunConfig), "").OrderBy(known => known.Section == path ? 0 : 1), known => known.Key);
                throw new ArgumentException($"'{path}{key}' is not a configuration key; the nearest is '{place}{name}'.");
            }

            object? bound = IsSection(property)
                ? Bind(property.GetValue(copy)!, value as YamlMappingNode ?? throw new ArgumentException($"'{path}{key}' must be a mapping of keys to values."), $"{path}{key}.")
                : Convert(value, property.PropertyType, path + key, new NullabilityInfoContext().Create(property).WriteState == NullabilityState.Nullable);
            property.SetValue(copy, bound);
        }

        return copy;
    }

    private static Dictionary<string, PropertyInfo> Properties(Type section) =>
        section.GetProperties().Where(property => property.CanWrite).ToDictionary(property => KeyOf(property.Name));

    private static bool IsSection(PropertyInfo property) => property.PropertyType.Name.EndsWith("Section", StringComparison.Ordinal);

    private static IEnumerable<(string Section, string Key)> AllKeys(Type section, string path) => Properties(section)
        .SelectMany(item => IsSection(item.Value) ? AllKeys(item.Value.PropertyType, $"{path}{item.Key}.").Prepend((path, item.Key)) : [(path, item.Key)]);

    /// <summary>A value; null where the key may be null, and the empty list for a list.</summary>
    private static object? Convert(YamlNode node, Type type, string key, bool nullable)
    {
        Type? item = type.IsGenericType && type.GetGenericTypeDefinition() == typeof(IReadOnlyList<>) ? type.GetGenericArguments()[0] : null;
        if (node is YamlSequenceNode sequence && item is not null)
        {
            IList list = Array.CreateInstance(item, sequence.Children.Count);
            for (int i = 0; i < list.Count; i++)
            {
                list[i] = Convert(sequence.Children[i], item, key, nullable: false);
            }

            return list;
        }

        string text = (node as YamlScalarNode)?.Value ?? throw new ArgumentException($"'{key}' must be {Describe(type)}.");
        bool isNull = text is "null" or "~" or "" && ((YamlScalarNode)node).Style == ScalarStyle.Plain;
        if (isNull && (nullable || item is not null))
        {
            return nullable ? null : Array.CreateInstance(item!, 0);
        }

        if (item is not null)
        {
            Array single = Array.CreateInstance(item, 1);
            single.SetValue(Convert(node, item, key, nullable: false), 0);
            return single;
        }

        return isNull ? throw new ArgumentException($"'{key}' is null; it must be {Describe(type)}.") : Scalar(text, Nullable.GetUnderlyingType(type) ?? type)
            ?? throw new ArgumentException($"'{key}' is '{text}'; it must be {Describe(type)}.");
    }

    private static object? Scalar(string text, Type type)
    {
        CultureInfo culture = CultureInfo.InvariantCulture;
        if (type == typeof(string))
        {
            return text;
        }

        if (type.IsEnum)
        {
            string? name = Enum.GetNames(type).FirstOrDefault(name => KeyOf(name) == text);
            return name is null ? null : Enum.Parse(type, name);
        }

        return type switch
        {
            _ when type == typeof(bool) => bool.TryParse(text, out bool flag) ? flag : null,
            _ when type == typeof(int) => int.TryParse(text, NumberStyles.AllowLeadingSign, culture, out int number) ? number : null,
            _ when type == typeof(long) => long.TryParse(text, NumberStyles.AllowLeadingSign, culture, out long number) ? number : null,
            _ when type == typeof(ulong) => ulong.TryParse(text, NumberStyles.None, culture, out ulong number) ? number : null,
            _ when type == typeof(double) => double.TryParse(text, NumberStyles.Float, culture, out double number) && double.IsFinite(number) ? number : null,
            _ => throw new InvalidOperationException($"No configuration value is of type {type}."),
        };
    }

    private static string Describe(Type type) => (Nullable.GetUnderlyingType(type) ?? type) switch
    {
        { IsEnum: true } kind => "one of " + string.Join(", ", Enum.GetNames(kind).Select(KeyOf)),
        var kind when kind == typeof(bool) => "true or false",
        var kind when kind == typeof(int) || kind == typeof(long) || kind == typeof(ulong) => "a whole number",
        var kind when kind == typeof(double) => "a number",
        var kind when kind == typeof(string) => "a text",
        _ => "a list",
    };
}
