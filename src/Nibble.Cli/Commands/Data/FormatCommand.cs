using System.CommandLine;
using System.Text.Json;
using Nibble.Data;

namespace Nibble.Cli.Commands.Data;

/// <summary><c>nibble data format</c></summary>
internal static class FormatCommand
{
    public static Command Create()
    {
        var source = new DataSource();
        var to = new Option<string>("--to") { Description = "The form to write.", Required = true };
        to.AcceptOnlyFromAmong("alpaca", "chat", "openai", "sharegpt", "completion", "text");
        var template = new Option<string?>("--template") { Description = "With --to completion: the prompt, with {instruction}, {input} and {system} where they belong." };
        var output = new Option<string>("--out") { Description = "The JSON lines to write, gzipped if it ends in .gz; must be new.", HelpName = "FILE", Required = true };
        var json = CommonOptions.Json();
        var command = new Command("format", "Turn examples into another form.") { to, template, output, json };
        source.AddTo(command);
        command.SetAction((result, cancellation) =>
        {
            (string target, string path) = (result.GetRequiredValue(to), result.GetRequiredValue(output));
            if (result.GetValue(template) is not null && target != "completion")
            {
                throw new UsageException("--template needs --to completion; other forms have no prompt.");
            }

            DataSource.RequireNew(path);

            var skipped = new SkippedLines();
            DatasetReadOptions reading = source.Reading(result, skipped);
            int written = Progress.Rows("formatting", progress => DatasetFormatter.Convert(
                source.File(result), path, DatasetOptions.Parse(target), reading with { Progress = progress }, result.GetValue(template), cancellation));
            Console.WriteLine(result.GetValue(json)
                ? JsonSerializer.Serialize(new { written, skipped = skipped.Count })
                : $"{written} records written to {path}{skipped}");
            return Task.FromResult(0);
        });
        return command;
    }
}
