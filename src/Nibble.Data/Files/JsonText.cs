using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Data.Files;

/// <summary>How records are read from JSON and written to it.</summary>
public static class JsonText
{
    /// <summary>A key that comes twice is a mistake, not a choice.</summary>
    internal static readonly JsonSerializerOptions Reading = new() { AllowDuplicateProperties = false };

    /// <summary>Text as it is, not escaped for HTML.</summary>
    public static readonly JsonSerializerOptions Writing = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static readonly JsonDocumentOptions Document = new() { AllowDuplicateProperties = false };

    /// <summary>One JSON value; text after it, and a key that comes twice, are errors.</summary>
    /// <exception cref="JsonException">The text is anything else.</exception>
    public static JsonNode? Parse(string text) => JsonNode.Parse(text, documentOptions: Document);

    /// <summary>The reason alone, without places that count within a line, and advice to programmers.</summary>
    public static string Reason(JsonException exception) =>
        $"is not valid JSON ({exception.Message.Split(" Path:")[0].Split(" LineNumber:")[0].Split(" which is not supported in this mode")[0].Split(" Change the reader")[0].TrimEnd('.')})";
}
