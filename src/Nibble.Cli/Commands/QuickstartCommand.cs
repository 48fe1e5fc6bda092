using System.CommandLine;
using Nibble.Cli.Quickstart;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble quickstart</c></summary>
internal static class QuickstartCommand
{
    public static Command Create()
    {
        var folder = new Option<string>("--out") { Description = "Where the adapter and the report go.", HelpName = "DIR", DefaultValueFactory = _ => "quickstart-out" };
        var recipe = new Option<string?>("--write-recipe") { Description = "Only write the corpus and the untrained model from which the base model was made.", HelpName = "DIR" };
        var command = new Command("quickstart", "Teach a small model a new skill: the whole way in under three minutes.") { folder, recipe };
        command.SetAction((result, cancellation) =>
        {
            if (result.GetValue(recipe) is { } target)
            {
                Directory.CreateDirectory(target);
                List<string> documents = [.. Corpus.Documents(60_000, seed: 1)];
                Corpus.Write(Path.Combine(target, "corpus.jsonl"), documents);
                BaseModel.WriteInitial(Path.Combine(target, "initial"), documents.Take(4000), seed: 1);
                return Task.FromResult(0);
            }

            QuickstartRun.Run(result.GetValue(folder)!, cancellation);
            return Task.FromResult(0);
        });
        return command;
    }
}
