using System.CommandLine;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Modeling.ChatTemplates;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble render</c></summary>
internal static class RenderCommand
{
    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    public static Command Create()
    {
        var model = new Option<string?>("--model") { Description = "The folder whose chat template is used.", HelpName = "DIR" };
        var template = new Option<string?>("--template") { Description = "A chat template (Jinja).", HelpName = "FILE" };
        var messages = new Option<string>("--messages") { Description = "A JSON list of role and content.", HelpName = "FILE", Required = true };
        var variables = new Option<string?>("--vars") { Description = "A JSON object of what else the template reads.", HelpName = "FILE" };
        var json = CommonOptions.Json();
        var command = new Command("render", "Write a conversation as its chat template does.") { model, template, messages, variables, json };
        command.SetAction(result =>
        {
            JsonObject vars = result.GetValue(variables) is { } path ? JsonFiles.ReadObject(path) : [];
            string source = Source(result.GetValue(model), result.GetValue(template), vars);
            RenderedChat chat = ChatTemplate.Parse(source).Render(JsonFiles.ReadArray(result.GetValue(messages)!), vars);
            if (!result.GetValue(json))
            {
                Console.Write(chat.Text);
                return;
            }

            int CodePoints(int units) => chat.Text.AsSpan(0, units).ToString().EnumerateRunes().Count();
            int[][] spans = [.. chat.GenerationSpans.Select(span => new[] { CodePoints(span.Start), CodePoints(span.End) })];
            Console.WriteLine(JsonSerializer.Serialize(new { chat.Text, GenerationSpans = spans }, Json));
        });
        return command;
    }

    /// <summary>The template; a model's own special tokens are known to it as well.</summary>
    private static string Source(string? model, string? template, JsonObject vars)
    {
        vars.TryAdd("tools", null);
        vars.TryAdd("documents", null);
        switch (model, template)
        {
            case (null, { } path):
                return File.Exists(path) ? File.ReadAllText(path) : throw new FileNotFoundException($"{path} does not exist.", path);
            case ({ } folder, null):
                HfTokenizer tokenizer = CommonOptions.Tokenizer(folder);
                vars.TryAdd("bos_token", tokenizer.BosId is { } bos ? tokenizer.IdToToken(bos) : null);
                vars.TryAdd("eos_token", tokenizer.EosId is { } eos ? tokenizer.IdToToken(eos) : null);
                return tokenizer.ChatTemplate ?? throw new InvalidDataException($"{folder} has no chat template.");
            default:
                throw new UsageException("give one of --model and --template.");
        }
    }
}
