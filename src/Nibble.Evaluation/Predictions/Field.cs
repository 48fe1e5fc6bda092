using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Evaluation.Predictions;

/// <summary>Fields of a row by name, or what is wrong with them.</summary>
internal static class Field
{
    /// <exception cref="FormatException">There is no such field, or it is no place.</exception>
    public static int Number(JsonObject fields, string name) => Find(fields, name) is JsonValue value && value.TryGetValue(out int number) && number >= 0
        ? number
        : throw new FormatException($"has a field '{name}' that is not a whole number from 0");

    /// <exception cref="FormatException">There is no such field, or it is no text.</exception>
    public static string Text(JsonObject fields, string name) => Scalar(Find(fields, name)) ?? throw new FormatException($"has a field '{name}' that is not a text");

    /// <summary>A text, or a list of texts; numbers and truth values are as good as texts.</summary>
    /// <exception cref="FormatException">There is no such field, or it is neither.</exception>
    public static string[] Texts(JsonObject fields, string name) => Find(fields, name) is JsonArray several
        ? [.. several.Select(item => Scalar(item) ?? throw new FormatException($"has a field '{name}' that is a list of other things than texts"))]
        : [Text(fields, name)];

    private static JsonNode? Find(JsonObject fields, string name) => fields.TryGetPropertyValue(name, out JsonNode? node)
        ? node
        : throw new FormatException($"has no field '{name}'; its fields are {string.Join(", ", fields.Select(field => field.Key))}");

    private static string? Scalar(JsonNode? node) => node?.GetValueKind() switch
    {
        JsonValueKind.String => (string)node!,
        JsonValueKind.Number or JsonValueKind.True or JsonValueKind.False => node!.ToJsonString(),
        _ => null,
    };
}
