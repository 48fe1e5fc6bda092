using System.CommandLine;
using System.Text.Json;
using Nibble.Data;

namespace Nibble.Cli.Commands.Data;

/// <summary><c>nibble data split</c></summary>
internal static class SplitCommand
{
    public static Command Create()
    {
        var source = new DataSource();
        var output = CommonOptions.Out();
        var train = Share("--train", "training", 0.8);
        var val = Share("--val", "validation", 0.1);
        var test = Share("--test", "test", 0.1);
        var seed = new Option<ulong>("--seed") { Description = "Another seed, another division.", DefaultValueFactory = _ => 42 };
        var method = new Option<string>("--method")
        {
            Description = "hash: an example always goes the same way, whatever is added; shuffle: parts have exactly their shares.",
            DefaultValueFactory = _ => "hash",
        };
        method.AcceptOnlyFromAmong("hash", "shuffle");
        var groupBy = new Option<string?>("--group-by") { Description = "Keep examples together that agree in this field.", HelpName = "FIELD" };
        var stratifyBy = new Option<string?>("--stratify-by") { Description = "Divide each value of this field by the exact shares.", HelpName = "FIELD" };
        var json = CommonOptions.Json();
        var command = new Command("split", "Divide examples into train.jsonl, val.jsonl and test.jsonl.") { output, train, val, test, seed, method, groupBy, stratifyBy, json };
        source.AddTo(command);
        command.SetAction((result, cancellation) =>
        {
            var splitter = new DatasetSplitter(result.GetValue(train), result.GetValue(val), result.GetValue(test), result.GetValue(seed))
            {
                Method = Enum.Parse<SplitMethod>(result.GetRequiredValue(method), ignoreCase: true),
                GroupBy = result.GetValue(groupBy),
                StratifyBy = result.GetValue(stratifyBy),
            };
            string folder = result.GetRequiredValue(output);
            var skipped = new SkippedLines();
            DatasetReadOptions reading = source.Reading(result, skipped);
            IReadOnlyDictionary<DatasetPart, long> counts = new Dictionary<DatasetPart, long>();
            CommonOptions.Fill(folder, () => counts = Progress.Rows("splitting", progress => splitter.SplitFile(source.File(result), folder, reading with { Progress = progress }, cancellation)));
            Dictionary<string, long> parts = counts.ToDictionary(item => item.Key.ToString().ToLowerInvariant(), item => item.Value);
            Console.WriteLine(result.GetValue(json)
                ? JsonSerializer.Serialize(new Dictionary<string, long>(parts) { ["skipped"] = skipped.Count })
                : $"{string.Join(", ", parts.Select(part => $"{part.Key} {part.Value}"))} in {folder}{skipped}");
            return Task.FromResult(0);
        });
        return command;
    }

    private static Option<double> Share(string name, string part, double usual) => new(name) { Description = $"The share of {part}; the three add up to 1.", DefaultValueFactory = _ => usual };
}
