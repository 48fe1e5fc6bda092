using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Nibble.Serving.Chat;
using Nibble.Serving.Jobs;

namespace Nibble.Serving.OpenAi;

/// <summary>What <c>POST /v1/chat/completions</c> takes. What changes nothing here is accepted only with the value that changes nothing.</summary>
internal sealed record ChatRequest
{
    private const int MostStops = 4;

    [JsonRequired]
    public required string Model { get; init; }

    [JsonRequired]
    public required JsonArray Messages { get; init; }

    public bool? Stream { get; init; }

    public StreamOptionsOf? StreamOptions { get; init; }

    public double? Temperature { get; init; }

    public double? TopP { get; init; }

    public int? MaxTokens { get; init; }

    public int? MaxCompletionTokens { get; init; }

    /// <summary>A text or a list of texts.</summary>
    public JsonNode? Stop { get; init; }

    public long? Seed { get; init; }

    /// <summary>Who asks, which nothing depends on.</summary>
    public string? User { get; init; }

    public int? N { get; init; }

    public double? FrequencyPenalty { get; init; }

    public double? PresencePenalty { get; init; }

    public bool? Logprobs { get; init; }

    public bool? Store { get; init; }

    public JsonArray? Tools { get; init; }

    public JsonObject? LogitBias { get; init; }

    /// <summary>Notes of who asks, which nothing depends on.</summary>
    public JsonObject? Metadata { get; init; }

    public string? ServiceTier { get; init; }

    public ResponseFormatOf? ResponseFormat { get; init; }

    /// <summary>Whether the last part of a stream counts the tokens.</summary>
    [JsonIgnore]
    public bool CountsTokens => StreamOptions?.IncludeUsage == true;

    /// <summary>The conversation as a worker takes it.</summary>
    /// <param name="adapter">The adapter's folder.</param>
    /// <exception cref="FieldException">A field cannot be accepted.</exception>
    public ChatPrompt ToPrompt(string? adapter)
    {
        Require(N is null or 1, "n", $"is {N}; only 1 is supported");
        Require(FrequencyPenalty is null or 0, "frequency_penalty", $"is {Text(FrequencyPenalty)}; only 0 is supported");
        Require(PresencePenalty is null or 0, "presence_penalty", $"is {Text(PresencePenalty)}; only 0 is supported");
        Require(Logprobs is not true, "logprobs", "is not supported");
        Require(Store is not true, "store", "is not supported");
        Require(Tools is null or [], "tools", "are not supported");
        Require(LogitBias is null or { Count: 0 }, "logit_bias", "is not supported");
        Require(ServiceTier is null or "auto" or "default", "service_tier", $"is '{ServiceTier}'; there is only the default");
        Require(ResponseFormat is null or { Type: "text" }, "response_format", $"is '{ResponseFormat?.Type}'; only text is supported");
        Require(StreamOptions is null || Stream == true, "stream_options", "needs stream");
        Require(Temperature is null or (>= 0 and <= 2), "temperature", $"is {Text(Temperature)}; it must lie in 0..2");
        Require(TopP is null or (> 0 and <= 1), "top_p", $"is {Text(TopP)}; it must be above 0 and at most 1");
        Require(MaxTokens is null or > 0, "max_tokens", $"is {MaxTokens}; it must be positive");
        Require(MaxCompletionTokens is null or > 0, "max_completion_tokens", $"is {MaxCompletionTokens}; it must be positive");
        Require(MaxTokens is null || MaxCompletionTokens is null, "max_tokens", "and max_completion_tokens mean the same; give one of them");
        return new ChatPrompt(
            adapter, ChatTurns.Of(Messages), MaxCompletionTokens ?? MaxTokens, Temperature ?? 1, TopP ?? 1,
            Seed is { } seed ? unchecked((ulong)seed) : BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(sizeof(ulong))), Stops());
    }

    private string[] Stops()
    {
        string[] stops = Stop switch
        {
            null => [],
            JsonArray list => [.. list.Select(Word)],
            _ => [Word(Stop)],
        };
        Require(stops.Length <= MostStops && stops.All(stop => stop.Length > 0), "stop", $"must be a text, or a list of at most {MostStops}, none empty");
        return stops;
    }

    private static string Word(JsonNode? node) => node?.GetValueKind() == JsonValueKind.String ? node.GetValue<string>() : throw new FieldException("stop", "must be a text or a list of texts");

    private static string Text(double? value) => value?.ToString(CultureInfo.InvariantCulture) ?? "";

    private static void Require(bool condition, string field, string problem)
    {
        if (!condition)
        {
            throw new FieldException(field, problem);
        }
    }

    /// <summary>How it is streamed.</summary>
    internal sealed record StreamOptionsOf
    {
        public bool? IncludeUsage { get; init; }
    }

    /// <summary>What form the answer has.</summary>
    internal sealed record ResponseFormatOf
    {
        [JsonRequired]
        public required string Type { get; init; }
    }
}
