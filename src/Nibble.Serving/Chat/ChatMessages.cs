using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;

namespace Nibble.Serving.Chat;

/// <summary>What a chat worker is to load: the first line of its standard input.</summary>
/// <param name="Folder">The base model's folder.</param>
/// <param name="Device">Where it computes.</param>
internal sealed record ChatOrder(string Folder, string Device);

/// <summary>A conversation to go on with: a further line. An empty line ends the answer to the last one.</summary>
/// <param name="Adapter">The folder of the adapter; null for the base model alone.</param>
/// <param name="Messages">Objects with role and content.</param>
/// <param name="MaxTokens">Tokens to answer with at most; null for as many as there is room for.</param>
/// <param name="Temperature">Zero takes the likeliest token.</param>
/// <param name="TopP">Samples among the likeliest tokens that together reach this probability.</param>
/// <param name="Seed">Decides what sampling draws.</param>
/// <param name="Stop">Texts that end the answer and are no part of it.</param>
internal sealed record ChatPrompt(string? Adapter, JsonArray Messages, int? MaxTokens, double Temperature, double TopP, ulong Seed, IReadOnlyList<string> Stop);

/// <summary>What a chat worker says: some text of its answer, its end, or why there is none.</summary>
internal sealed record ChatReply
{
    public const string Cancelled = "cancelled";

    public string? Text { get; init; }

    /// <summary>stop, length or cancelled.</summary>
    public string? Finish { get; init; }

    /// <summary>What is wrong with the conversation or the model.</summary>
    public string? Problem { get; init; }

    /// <summary>A word for programs, if there is one.</summary>
    public string? Code { get; init; }

    public int PromptTokens { get; init; }

    public int CompletionTokens { get; init; }

    [JsonIgnore]
    public bool IsLast => Text is null;
}

/// <summary>The lines between the service and its chat workers.</summary>
internal static class ChatLine
{
    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    public static string Of<T>(T value) => JsonSerializer.Serialize(value, Json);

    public static T Parse<T>(string line) => JsonSerializer.Deserialize<T>(line, Json)!;

    public static T Parse<T>(JsonObject line) => line.Deserialize<T>(Json)!;
}
