using System.Text.Json.Nodes;

namespace Nibble.Data;

/// <summary>One example of a dataset, in whichever form its file has.</summary>
public abstract record DatasetRecord;

/// <summary>A conversation; the assistant's turns are learned.</summary>
/// <param name="Messages">Objects with <c>role</c> and <c>content</c>, and whatever else the chat template reads.</param>
/// <param name="Tools">Tool definitions for the template, where the record has them.</param>
public sealed record ChatExample(JsonArray Messages, JsonNode? Tools = null) : DatasetRecord
{
    /// <summary>Whether the assistant says anything; if not, there is nothing to learn.</summary>
    public bool HasAssistantTurn => Messages.Any(message => (string?)message!["role"] == "assistant");
}

/// <summary>A prompt and what should follow it; only the latter is learned.</summary>
/// <param name="Prompt">Given.</param>
/// <param name="Completion">Learned.</param>
public sealed record CompletionExample(string Prompt, string Completion) : DatasetRecord;

/// <summary>A question with several answers of which one is right; learned is that one.</summary>
/// <param name="Question">What is asked.</param>
/// <param name="Choices">The answers, at least two.</param>
/// <param name="Answer">The right one's place, from 0.</param>
public sealed record ChoiceExample(string Question, IReadOnlyList<string> Choices, int Answer) : DatasetRecord
{
    /// <summary>The question with one of its answers, worded as lm-evaluation-harness words them.</summary>
    public CompletionExample With(int choice) => new($"Question: {Question}\nAnswer:", $" {Choices[choice]}");
}

/// <summary>Plain text, all of it learned.</summary>
/// <param name="Text">The text.</param>
public sealed record TextExample(string Text) : DatasetRecord;

/// <summary>Tokens that were made elsewhere.</summary>
/// <param name="InputIds">The tokens.</param>
/// <param name="Labels">Like the tokens, -100 where nothing is learned; not shifted.</param>
public sealed record TokenizedExample(int[] InputIds, int[] Labels) : DatasetRecord;
