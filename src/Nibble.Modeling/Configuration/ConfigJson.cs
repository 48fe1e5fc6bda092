using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Modeling.Configuration;

/// <summary>A config.json that remembers which keys were asked for, so that none is silently ignored.</summary>
internal sealed class ConfigJson(string path, JsonObject values)
{
    private readonly HashSet<string> read = [];

    public InvalidDataException Error(string key, string problem) => new($"{path}: '{key}' {problem}.");

    public string? Text(string key) => Value<string>(key);

    public int Integer(string key, int? fallback = null) =>
        Value<int?>(key) is { } value
            ? value > 0 ? value : throw Error(key, $"is {value}, a positive number is needed")
            : fallback ?? throw Error(key, "is missing");

    public double Number(string key, double? fallback = null) => Value<double?>(key) ?? fallback ?? throw Error(key, "is missing");

    public double? OptionalNumber(string key) => Value<double?>(key);

    public bool Flag(string key, bool fallback) => Value<bool?>(key) ?? fallback;

    /// <summary>A number or a list of numbers; empty where absent.</summary>
    public IReadOnlyList<int> Integers(string key)
    {
        read.Add(key);
        try
        {
            return values[key] switch
            {
                null => [],
                JsonArray list => [.. list.Select(item => item!.GetValue<int>())],
                JsonNode single => [single.GetValue<int>()],
            };
        }
        catch (Exception exception) when (exception is InvalidOperationException or FormatException)
        {
            throw Error(key, "is neither a token id nor a list of them");
        }
    }

    public IReadOnlyList<string>? Texts(string key)
    {
        read.Add(key);
        return values[key] is JsonArray list ? [.. list.Select(item => item!.GetValue<string>())] : null;
    }

    public ConfigJson? Section(string key)
    {
        read.Add(key);
        return values[key] switch
        {
            null => null,
            JsonObject section => new ConfigJson($"{path} ({key})", section),
            _ => throw Error(key, "is not an object"),
        };
    }

    /// <summary>Refuses a feature unless its key is absent, null or has the one supported value.</summary>
    public void RequireOnly<T>(string key, T supported)
        where T : notnull
    {
        if (Value<T>(key) is { } value && values[key] is not null && !value.Equals(supported))
        {
            throw Error(key, $"is {values[key]!.ToJsonString()}; only {JsonSerializer.Serialize(supported)} is supported");
        }
    }

    /// <summary>The dtype that the checkpoint names: <c>dtype</c> (transformers 5) or <c>torch_dtype</c>.</summary>
    public string? StoredDType() => (Text("dtype") ?? Text("torch_dtype")) switch
    {
        null or "auto" => null,
        string name and ("float32" or "bfloat16" or "float16") => name,
        string other => throw Error("dtype", $"is '{other}'; float32, bfloat16 and float16 are supported"),
    };

    /// <summary>Refuses keys that nobody asked for: each could change the computation.</summary>
    public void RequireAllRead(IReadOnlySet<string> descriptive)
    {
        foreach ((string key, JsonNode? value) in values)
        {
            if (value is not null && !read.Contains(key) && !descriptive.Contains(key) && !key.StartsWith('_'))
            {
                throw Error(key, $"(= {Shorten(value.ToJsonString())}) is not known to this architecture; remove it if it does not change the computation");
            }
        }
    }

    private static string Shorten(string text) => text.Length <= 60 ? text : text[..57] + "...";

    private T? Value<T>(string key)
    {
        read.Add(key);
        try
        {
            return values[key] is { } node ? node.GetValue<T>() : default;
        }
        catch (Exception exception) when (exception is InvalidOperationException or FormatException)
        {
            throw Error(key, $"is {Shorten(values[key]!.ToJsonString())}, which is not of the expected type");
        }
    }
}
