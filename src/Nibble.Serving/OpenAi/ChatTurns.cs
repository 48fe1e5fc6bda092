using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Serving.Jobs;

namespace Nibble.Serving.OpenAi;

/// <summary>A request's messages as chat templates read them: a role and a text.</summary>
internal static class ChatTurns
{
    private static readonly Dictionary<string, string> Roles = new() { ["system"] = "system", ["developer"] = "system", ["user"] = "user", ["assistant"] = "assistant" };

    /// <exception cref="FieldException">There is none, or one is of a kind that is not supported.</exception>
    public static JsonArray Of(JsonArray messages) => messages.Count > 0
        ? [.. messages.Select((message, i) => Turn(message, $"messages[{i}]"))]
        : throw new FieldException("messages", "is empty");

    private static JsonObject Turn(JsonNode? node, string path)
    {
        if (node is not JsonObject message)
        {
            throw new FieldException(path, "must be an object with role and content");
        }

        if (message.FirstOrDefault(item => item.Key is not ("role" or "content" or "name") && item.Value is not (null or JsonArray { Count: 0 })).Key is { } unknown)
        {
            throw new FieldException($"{path}.{unknown}", "is not supported");
        }

        string role = Text(message["role"], $"{path}.role");
        return new JsonObject
        {
            ["role"] = Roles.GetValueOrDefault(role) ?? throw new FieldException($"{path}.role", $"is '{role}'; it must be one of {string.Join(", ", Roles.Keys)}"),
            ["content"] = message["content"] is JsonArray parts ? string.Concat(parts.Select((part, i) => Part(part, $"{path}.content[{i}]"))) : Text(message["content"], $"{path}.content"),
        };
    }

    private static string Part(JsonNode? node, string path) => node is JsonObject part && Text(part["type"], $"{path}.type") == "text"
        ? Text(part["text"], $"{path}.text")
        : throw new FieldException($"{path}.type", "must be text");

    private static string Text(JsonNode? node, string path) =>
        node?.GetValueKind() == JsonValueKind.String ? node.GetValue<string>() : throw new FieldException(path, "must be a text");
}
