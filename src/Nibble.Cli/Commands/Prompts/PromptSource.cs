using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Data;
using Nibble.Modeling.ChatTemplates;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Cli.Commands.Prompts;

/// <summary>The prompt that generation continues, in whichever of its forms it is given.</summary>
internal sealed class PromptSource
{
    private readonly Option<string?> text = new("--prompt") { Description = "The prompt as text." };

    private readonly Option<string?> messages = new("--messages") { Description = "The prompt as a conversation: a JSON list of role and content.", HelpName = "FILE" };

    private readonly Option<string?> instruction = new("--instruction") { Description = "The prompt as an instruction, written as those that the model was trained on.", HelpName = "TEXT" };

    private readonly Option<string?> input = new("--input") { Description = "With --instruction: what to do it with.", HelpName = "TEXT" };

    private readonly Option<string?> system = new("--system") { Description = "With --instruction: how the model is to behave.", HelpName = "TEXT" };

    private readonly Option<string?> ids = new("--input-ids") { Description = "The prompt as token ids, such as 1,2,3." };

    private readonly PromptOptions options = new();

    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { text, messages, instruction, input, system, ids })
        {
            command.Options.Add(option);
        }

        options.AddTo(command);
    }

    /// <summary>The prompt's tokens, and the tokenizer; that is null where tokens are given to a model without one.</summary>
    public (int[] Ids, HfTokenizer? Tokenizer) Read(ParseResult result, string model, string? adapter)
    {
        if (new[] { text, messages, instruction, ids }.Count(form => result.GetValue(form) is not null) != 1)
        {
            throw new UsageException("give the prompt as one of --prompt, --messages, --instruction and --input-ids.");
        }

        if (result.GetValue(instruction) is null && (result.GetValue(input) ?? result.GetValue(system)) is not null)
        {
            throw new UsageException("--input and --system need --instruction, to which they belong.");
        }

        if (result.GetValue(ids) is { } numbers)
        {
            return (Parse(numbers), ModelWriter.HasTokenizer(model) ? CommonOptions.Tokenizer(model) : null);
        }

        PromptWriting writing = options.Of(result, model, adapter);
        HfTokenizer tokenizer = CommonOptions.Tokenizer(model);
        if (result.GetValue(text) is { } plain)
        {
            writing.WarnOfPrompt(DatasetFormat.Completion, "--prompt");
            return (tokenizer.Encode(plain, addSpecialTokens: true), tokenizer);
        }

        if (result.GetValue(messages) is { } path)
        {
            writing.WarnOfPrompt(DatasetFormat.Chat, "--messages");
            return (Chat(writing, tokenizer, JsonFiles.ReadArray(path)), tokenizer);
        }

        DatasetFormat kind = writing.KindOfInstruction();
        var asked = new TrainingExample(result.GetValue(instruction)!, result.GetValue(input) ?? "", Output: "", result.GetValue(system));
        return (kind == DatasetFormat.Alpaca ? tokenizer.Encode(asked.Prompt, addSpecialTokens: true) : Chat(writing, tokenizer, Question(asked)), tokenizer);
    }

    private static int[] Chat(PromptWriting writing, HfTokenizer tokenizer, JsonArray turns) =>
        new ChatEncoder(tokenizer, ChatTemplate.Parse(writing.TemplateFor(tokenizer).Text)).EncodeIds(turns, new JsonObject { ["add_generation_prompt"] = true });

    /// <summary>The turns before the answer.</summary>
    private static JsonArray Question(TrainingExample example)
    {
        JsonArray turns = example.ToChatFormat().Messages;
        turns.RemoveAt(turns.Count - 1);
        return turns;
    }

    private static int[] Parse(string ids)
    {
        try
        {
            return [.. ids.Split(',').Select(id => int.Parse(id, CultureInfo.InvariantCulture))];
        }
        catch (Exception exception) when (exception is FormatException or OverflowException)
        {
            throw new UsageException($"--input-ids is '{ids}'; it must be whole numbers with commas between.");
        }
    }
}
