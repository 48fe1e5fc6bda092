using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Cli.Commands.Prompts;
using Nibble.Data;
using Nibble.Data.Validation;
using Spectre.Console;

namespace Nibble.Cli.Commands.Data;

/// <summary><c>nibble data stats</c></summary>
internal static class StatsCommand
{
    public static Command Create()
    {
        var source = new DataSource();
        var model = new Option<string?>("--model") { Description = "A model's folder, to count tokens as well.", HelpName = "DIR" };
        var prompts = new PromptOptions();
        var json = CommonOptions.Json();
        var command = new Command("stats", "Count what examples are made of.") { model, json };
        prompts.AddTo(command);
        source.AddTo(command);
        command.SetAction((result, cancellation) =>
        {
            ModelTokens? tokens = prompts.Of(result, result.GetValue(model)) is { } writing ? new ModelTokens(writing, null) : null;
            var skipped = new SkippedLines();
            var statistics = new DatasetStatistics();
            string path = source.File(result);
            foreach (DatasetLine line in DatasetReader.ReadLines(path, source.Reading(result, skipped)))
            {
                cancellation.ThrowIfCancellationRequested();
                statistics.Add(line.Record, tokens?.Encode(path, line).InputIds.Length);
            }

            if (result.GetValue(json))
            {
                JsonObject found = StatisticsJson.Of(statistics);
                found["skipped"] = skipped.Count;
                Console.WriteLine(found.ToJsonString(new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }));
            }
            else
            {
                Show(statistics);
                Console.WriteLine($"{statistics.Records} records{skipped}");
            }

            return Task.FromResult(0);
        });
        return command;
    }

    private static void Show(DatasetStatistics statistics)
    {
        Table lengths = new Table().Border(TableBorder.Simple).AddColumns("length", "min", "mean", "50%", "95%", "99%", "max");
        foreach ((string name, LengthDistribution length) in new[]
                 { ("words of a question", statistics.QuestionWords), ("words of an answer", statistics.AnswerWords), ("tokens of an example", statistics.Tokens) })
        {
            if (length.Count > 0)
            {
                lengths.AddRow([name, .. new[] { length.Min, length.Mean, length.Quantile(0.5), length.Quantile(0.95), length.Quantile(0.99), length.Max }
                    .Select(value => value.ToString("0.#", CultureInfo.InvariantCulture))]);
            }
        }

        Terminal.Output.Write(lengths);
        Table counts = new Table().Border(TableBorder.Simple).AddColumns("what", "value", "records");
        counts.Columns[2].RightAligned();
        foreach ((string name, IReadOnlyDictionary<string, long> values) in new[]
                 { ("form", statistics.Forms), ("turns of", statistics.Turns), ("language (guessed)", statistics.Languages), ("label", statistics.Labels) })
        {
            foreach ((string value, long count) in values.OrderByDescending(item => item.Value))
            {
                counts.AddRow(new Text(name), new Text(Terminal.Visible(value, lines: false)), new Text(count.ToString(CultureInfo.InvariantCulture)));
            }
        }

        if (statistics.EmptyInputs > 0)
        {
            counts.AddRow("input", "empty", statistics.EmptyInputs.ToString(CultureInfo.InvariantCulture));
        }

        Terminal.Output.Write(counts);
    }
}
