using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace Nibble.Data;

/// <summary>An instruction with its answer (the alpaca form).</summary>
/// <param name="Instruction">What to do.</param>
/// <param name="Input">What to do it with; may be empty.</param>
/// <param name="Output">The answer; the only part that is learned.</param>
/// <param name="System">Replaces the prompt's usual opening; may be null.</param>
public sealed partial record TrainingExample(string Instruction, string Input, string Output, string? System = null) : DatasetRecord
{
    /// <summary>The Alpaca prompt up to where the answer begins.</summary>
    public string Prompt
    {
        get
        {
            string opening = string.IsNullOrEmpty(System) ? "" : $"{System}\n\n";
            string input = Input.Length == 0 ? "" : $"### Input:\n{Input}\n\n";
            return $"{opening}### Instruction:\n{Instruction}\n\n{input}### Response:\n";
        }
    }

    /// <summary>Prompt and answer as one text.</summary>
    public string ToAlpacaFormat() => Prompt + Output;

    /// <summary>A system turn where there is one, a user turn of instruction, blank line and input, and the answer.</summary>
    public ChatExample ToChatFormat()
    {
        var messages = new JsonArray();
        if (!string.IsNullOrEmpty(System))
        {
            messages.Add(Turn("system", System));
        }

        messages.Add(Turn("user", Input.Length == 0 ? Instruction : $"{Instruction}\n\n{Input}"));
        messages.Add(Turn("assistant", Output));
        return new ChatExample(messages);
    }

    /// <summary>Prompt and completion.</summary>
    /// <param name="template">The prompt, with <c>{instruction}</c>, <c>{input}</c> and <c>{system}</c> where they belong; null: the Alpaca prompt.</param>
    public CompletionExample ToCompletionFormat(string? template = null) => new(
        template is null ? Prompt : Placeholder().Replace(template, match => match.Value switch
        {
            "{instruction}" => Instruction,
            "{input}" => Input,
            _ => System ?? "",
        }),
        Output);

    // In one go, so that an instruction may speak of {input}.
    [GeneratedRegex(@"\{(instruction|input|system)\}")]
    private static partial Regex Placeholder();

    private static JsonObject Turn(string role, string content) => new() { ["role"] = role, ["content"] = content };
}
