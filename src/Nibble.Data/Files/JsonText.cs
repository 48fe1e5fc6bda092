using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Data.Files;

/// <summary>How records are read from JSON and written to it.</summary>
internal static class JsonText
{
    /// <summary>A key that comes twice is a mistake, not a choice.</summary>
    public static readonly JsonSerializerOptions Reading = new() { AllowDuplicateProperties = false };

    /// <summary>Text as it is, not escaped for HTML.</summary>
    public static readonly JsonSerializerOptions Writing = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static readonly JsonDocumentOptions Document = new() { AllowDuplicateProperties = false };

    public static JsonNode? Parse(string text) => JsonNode.Parse(text, documentOptions: Document);

    /// <summary>The reason alone, without places that count within a line.</summary>
    public static string Reason(JsonException exception) =>
        $"is not valid JSON ({exception.Message.Split(" Path:")[0].Split(" LineNumber:")[0].TrimEnd('.')})";
}
