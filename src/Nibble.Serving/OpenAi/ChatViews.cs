using System.Text.Json.Serialization;
using Nibble.Serving.Chat;

namespace Nibble.Serving.OpenAi;

/// <summary>An answer, or a part of one that is streamed.</summary>
/// <param name="Id">Of the answer.</param>
/// <param name="Object">Which of the two.</param>
/// <param name="Created">Seconds since 1970.</param>
/// <param name="Model">As the request calls it.</param>
/// <param name="Choices">The one answer; none beside the count of tokens at the end of a stream.</param>
internal sealed record ChatView(string Id, string Object, long Created, string Model, IReadOnlyList<ChoiceView> Choices)
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public UsageView? Usage { get; init; }
}

/// <summary>What is said, whole or in part.</summary>
/// <param name="FinishReason">Why it ends: stop or length; null while it goes on.</param>
internal sealed record ChoiceView(string? FinishReason)
{
    public int Index { get; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public MessageView? Message { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public MessageView? Delta { get; init; }

    public object? Logprobs { get; }
}

/// <summary>A message, or what is added to one.</summary>
internal sealed record MessageView
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Role { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Content { get; init; }
}

/// <summary>Tokens that were read and written.</summary>
internal sealed record UsageView(int PromptTokens, int CompletionTokens, int TotalTokens)
{
    public static UsageView Of(ChatReply reply) => new(reply.PromptTokens, reply.CompletionTokens, reply.PromptTokens + reply.CompletionTokens);
}
