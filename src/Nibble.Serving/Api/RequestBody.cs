using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Http;
using Nibble.Data.Files;
using Nibble.Serving.Jobs;

namespace Nibble.Serving.Api;

/// <summary>Reads what a request sends, and says which field is wrong.</summary>
internal static class RequestBody
{
    private static readonly JsonSerializerOptions Strict = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        AllowDuplicateProperties = false,
        RespectNullableAnnotations = true,
        MaxDepth = 16,
        Converters = { new FiniteNumber() },
    };

    /// <summary>The request, and its bytes.</summary>
    /// <exception cref="BadHttpRequestException">It is no JSON, or too large.</exception>
    /// <exception cref="FieldException">It is JSON of another form.</exception>
    public static async Task<(T Value, byte[] Bytes)> ReadAsync<T>(HttpContext context)
    {
        if (!context.Request.HasJsonContentType()) // Which a web page of another origin may not send without asking.
        {
            throw new BadHttpRequestException("The content type must be application/json.", StatusCodes.Status415UnsupportedMediaType);
        }

        using var stream = new MemoryStream();
        await context.Request.Body.CopyToAsync(stream, context.RequestAborted).ConfigureAwait(false);
        byte[] bytes = stream.ToArray();
        if (bytes.Length == 0)
        {
            throw new BadHttpRequestException("The body is empty.");
        }

        try
        {
            using JsonDocument document = JsonDocument.Parse(bytes, new JsonDocumentOptions { MaxDepth = Strict.MaxDepth });
        }
        catch (JsonException exception)
        {
            throw new BadHttpRequestException($"The body {JsonText.Reason(exception)}, in line {exception.LineNumber + 1} at byte {exception.BytePositionInLine + 1}.", exception);
        }

        try
        {
            return (JsonSerializer.Deserialize<T>(bytes, Strict) ?? throw new FieldException("body", "is null"), bytes);
        }
        catch (JsonException exception)
        {
            throw new FieldException(FieldOf(exception), ProblemOf(exception.Message));
        }
    }

    /// <summary>In words that name no type of this program.</summary>
    private static string ProblemOf(string message) =>
        message.Contains("could not be mapped", StringComparison.Ordinal) ? "is not supported"
        : message.Contains("missing required", StringComparison.Ordinal) ? "is missing"
        : message.Contains("could not be converted", StringComparison.Ordinal) ? "has a value of another kind, or out of range"
        : message.StartsWith("Duplicate", StringComparison.Ordinal) ? "is there twice"
        : message.Contains("null", StringComparison.Ordinal) ? "must not be null"
        : message.Split(" Path: ")[0];

    /// <summary>By its path; a missing or unknown one only by the message, in quotation marks.</summary>
    private static string FieldOf(JsonException exception) =>
        exception.Path is { Length: > 2 } path && path.StartsWith("$.", StringComparison.Ordinal) ? path[2..]
        : exception.Message.Split('\'') is [_, string name, ..] && !name.Contains('.', StringComparison.Ordinal) ? name
        : exception.Message.Split('\'') is [_, _, _, string last, ..] ? last : "body";

    /// <summary>JSON has numbers that no double holds, such as 1e400, which would be read as infinite.</summary>
    private sealed class FiniteNumber : JsonConverter<double>
    {
        public override double Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
            reader.TokenType == JsonTokenType.Number && reader.GetDouble() is var number && double.IsFinite(number) ? number : throw new JsonException();

        public override void Write(Utf8JsonWriter writer, double value, JsonSerializerOptions options) => writer.WriteNumberValue(value);
    }
}
