using System.CommandLine;
using System.Diagnostics.CodeAnalysis;
using Nibble.Training.Prompts;

namespace Nibble.Cli.Commands.Prompts;

/// <summary>The options that choose how prompts are written.</summary>
internal sealed class PromptOptions
{
    private readonly Option<string?> style = new("--prompt-format")
    {
        Description = "How records become prompts: auto (each as its form is usually written), alpaca or chat; by default as the model was trained, else auto.",
    };

    private readonly Option<string?> template = new("--chat-template")
    {
        Description = $"The template of chats: {NamedTemplate.Roles}, or a file (Jinja); by default the one that the model was trained with, else its own.",
        HelpName = $"{NamedTemplate.Roles}|FILE",
    };

    public PromptOptions() => style.AcceptOnlyFromAmong("auto", "alpaca", "chat");

    public void AddTo(Command command)
    {
        command.Options.Add(style);
        command.Options.Add(template);
    }

    /// <summary>How prompts are written for a model; null without one.</summary>
    [return: NotNullIfNotNull(nameof(model))]
    public PromptWriting? Of(ParseResult result, string? model, string? adapter = null)
    {
        (string? styleName, string? templateName) = (result.GetValue(style), result.GetValue(template));
        if (model is not null)
        {
            return new PromptWriting(model, adapter, styleName is null ? null : Enum.Parse<PromptStyle>(styleName, ignoreCase: true), templateName);
        }

        return (styleName, templateName) is (null, null) ? null : throw new UsageException("--prompt-format and --chat-template need --model, whose prompts they are.");
    }
}
