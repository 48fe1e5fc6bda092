using System.Text.Json.Nodes;

namespace Nibble.Data.Validation;

/// <summary>What a record asks and answers, whatever its form.</summary>
/// <param name="Instruction">What is asked; of a conversation all user turns, of plain text all of it.</param>
/// <param name="Input">What it is asked about; mostly empty.</param>
/// <param name="Answers">What is learned; null where it cannot be told from the rest.</param>
internal sealed record ExampleView(string Instruction, string Input, IReadOnlyList<string>? Answers)
{
    /// <summary>Null for tokens, which have no text.</summary>
    public static ExampleView? Of(DatasetRecord record) => record switch
    {
        TrainingExample example => new ExampleView(example.Instruction, example.Input, [example.Output]),
        CompletionExample completion => new ExampleView(completion.Prompt, "", [completion.Completion]),
        ChoiceExample choice => new ExampleView(choice.Question, string.Join('\n', choice.Choices), [choice.Choices[choice.Answer]]),
        ChatExample chat => new ExampleView(
            string.Join('\n', Contents(chat, "user")), "", [.. Contents(chat, "assistant")]),
        TextExample text => new ExampleView(text.Text, "", null),
        _ => null,
    };

    /// <summary>Every text that stands in the record.</summary>
    public IEnumerable<string> Texts => Answers is null ? [Instruction] : [Instruction, Input, .. Answers];

    /// <summary>
    /// Signs what is asked. Inputs are compared under one instruction only: the same instruction over and over is no sign of likeness.
    /// </summary>
    public bool TrySign(Span<ulong> signature) => Input.Length == 0
        ? MinHash.TrySign(Instruction, 0, signature)
        : MinHash.TrySign(Input, TextHash.Of(Instruction.AsSpan().Trim()), signature);

    /// <summary>The text of a turn; of one made of parts, that of its text parts. Null where it has none.</summary>
    public static string? Content(JsonNode message) => message["content"] switch
    {
        JsonValue value when value.TryGetValue(out string? text) => text,
        JsonArray parts => string.Concat(parts.Select(part => (part as JsonObject)?["text"]?.ToString())),
        _ => null,
    };

    /// <summary>What a role says; a turn that only calls tools says nothing, and need not.</summary>
    private static IEnumerable<string> Contents(ChatExample chat, string role) => chat.Messages
        .Where(message => (string?)message!["role"] == role && (message["tool_calls"] is null || !string.IsNullOrEmpty(Content(message))))
        .Select(message => Content(message!) ?? "");
}
