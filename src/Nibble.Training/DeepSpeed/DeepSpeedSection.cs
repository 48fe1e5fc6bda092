using System.Globalization;
using System.Text.Json.Nodes;

namespace Nibble.Training.DeepSpeed;

/// <summary>An object of a DeepSpeed configuration, whose keys are asked for one by one; those that nobody asked for are refused.</summary>
/// <param name="file">What errors call the configuration.</param>
/// <param name="path">Names of the objects that this one lies in, each followed by a dot.</param>
/// <param name="json">Null where the configuration has no such object.</param>
internal sealed class DeepSpeedSection(string file, string path, JsonObject? json)
{
    private const string Auto = "auto";

    private readonly HashSet<string> asked = [];
    private readonly List<DeepSpeedSection> sections = [];

    public bool IsThere => json is not null;

    /// <summary>Null where the key is missing or <c>auto</c>, as for the other kinds of values.</summary>
    public bool? Flag(string key) => Given(key) is not { } node ? null
        : node is JsonValue value && value.TryGetValue(out bool flag) ? flag : throw Unfit(key, node, "true or false");

    public string? Word(string key) => Given(key) is not { } node ? null
        : node is JsonValue value && value.TryGetValue(out string? word) ? word : throw Unfit(key, node, "a word");

    /// <summary>A rate, a decay, a norm: none of them is negative.</summary>
    public double? Number(string key) => Given(key) is not { } node ? null
        : node is JsonValue value && value.TryGetValue(out double number) && number >= 0 ? number : throw Unfit(key, node, "zero or a positive number");

    /// <summary>A whole number, which people also write as 5e8.</summary>
    public long? Count(string key) => Given(key) is not { } node ? null
        : node is JsonValue value && value.TryGetValue(out double number) && number is >= 0 and < 1e18 && Math.Floor(number) == number
            ? (long)number
            : throw Unfit(key, node, "a whole number");

    /// <summary>A whole number that a setting of 32 bits can have, and not zero.</summary>
    public long? Positive(string key)
    {
        long? count = Count(key);
        return count is < 1 or > int.MaxValue ? throw Problem(key, $"is {count}; it must be {(count < 1 ? "positive" : "below 2^31")}") : count;
    }

    /// <summary>A list of so many numbers.</summary>
    public double[]? Numbers(string key, int count) => Given(key) is not { } node ? null
        : node is JsonArray array && array.Count == count && array.All(item => item is JsonValue value && value.TryGetValue(out double _))
            ? [.. array.Select(item => item!.GetValue<double>())]
            : throw Unfit(key, node, $"{count} numbers");

    public DeepSpeedSection Section(string key)
    {
        JsonNode? node = Ask(key);
        var section = new DeepSpeedSection(
            file, $"{path}{key}.", node is null or JsonObject ? (JsonObject?)node : throw Problem(key, $"is {node.ToJsonString()}; it must be an object"));
        sections.Add(section);
        return section;
    }

    /// <summary>A key whose only value is what the engine does anyway.</summary>
    /// <param name="key">The key.</param>
    /// <param name="supported">Its value.</param>
    /// <param name="why">What the engine does.</param>
    /// <param name="matters">Whether it says anything about this run; else it may have any value.</param>
    public void Only(string key, JsonNode supported, string why, bool matters = true)
    {
        JsonNode? node = Given(key);
        if (matters && node is not null && Normal(node) != Normal(supported))
        {
            throw Problem(key, $"is {node.ToJsonString()}; only {supported.ToJsonString()} is supported: {why}");
        }
    }

    /// <summary>Refuses all keys that were not asked for.</summary>
    public void End()
    {
        if (json?.FirstOrDefault(item => !asked.Contains(item.Key)).Key is { } unknown)
        {
            throw Problem(unknown, "is not supported");
        }

        sections.ForEach(section => section.End());
    }

    public ArgumentException Problem(string key, string what) => new($"{file}: {path}{key} {what}.");

    private ArgumentException Unfit(string key, JsonNode node, string kind) => Problem(key, $"is {node.ToJsonString()}; it must be {kind} or \"auto\"");

    private JsonNode? Given(string key) => Ask(key) is { } node && !IsAuto(node) ? node : null;

    private JsonNode? Ask(string key)
    {
        asked.Add(key);
        return json?[key];
    }

    private static bool IsAuto(JsonNode node) => node is JsonValue value && value.TryGetValue(out string? word) && word == Auto;

    /// <summary>So that 1 and 1.0 are equal.</summary>
    private static string Normal(JsonNode node)
    {
        string text = node.ToJsonString();
        return double.TryParse(text, CultureInfo.InvariantCulture, out double number) ? number.ToString("R", CultureInfo.InvariantCulture) : text;
    }
}
