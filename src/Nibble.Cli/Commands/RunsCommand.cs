using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Nibble.Cli.Registry;
using Nibble.Training.Reporting;
using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble runs</c></summary>
internal static class RunsCommand
{
    private const int HashShown = 8;

    private static readonly JsonSerializerOptions Json = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    public static Command Create()
    {
        var limit = new Option<int>("--limit") { Description = "Runs to list at most, the newest first.", HelpName = "N", DefaultValueFactory = _ => 20 };
        var adapter = new Option<string?>("--adapter") { Description = "Only the runs that made an adapter: its folder, wherever it was copied, or the beginning of its weights' SHA-256.", HelpName = "DIR|HASH" };
        var json = CommonOptions.Json();
        var command = new Command("runs", "List this user's runs.") { limit, adapter, json };
        command.SetAction(result =>
        {
            IReadOnlyList<RunEntry> entries = result.GetValue(adapter) is { } name ? MakersOf(name) : RunRegistry.Newest(result.GetValue(limit));
            if (result.GetValue(json))
            {
                Console.WriteLine(JsonSerializer.Serialize(entries, Json));
            }
            else
            {
                Show(entries);
            }
        });
        return command;
    }

    private static IReadOnlyList<RunEntry> MakersOf(string adapter)
    {
        const int Shortest = 6;
        string hash = Directory.Exists(adapter) ? RunHashes.OfWeights(adapter)
            : adapter.Length >= Shortest && adapter.All(char.IsAsciiHexDigit) ? adapter
            : throw new UsageException($"--adapter {adapter} is neither a folder nor a hash of at least {Shortest} hexadecimal digits.");
        return RunRegistry.OfAdapter(hash) is { Count: > 0 } found ? found : throw new InvalidDataException($"no run in {RunRegistry.FilePath} made weights with the SHA-256 {hash}.");
    }

    private static void Show(IReadOnlyList<RunEntry> entries)
    {
        if (entries.Count == 0)
        {
            Console.WriteLine($"There are no runs in {RunRegistry.FilePath}.");
            return;
        }

        // On a terminal a run takes several lines, elsewhere one, for grep and its like.
        IAnsiConsole console = Terminal.Output;
        bool terminal = console.Profile.Out.IsTerminal;
        console.Profile.Width = terminal ? console.Profile.Width : int.MaxValue / 2;
        Table table = new Table().Border(TableBorder.Simple).AddColumns("run", "status", "started", "adapter", "what");
        foreach (RunEntry entry in entries)
        {
            string[] cells =
            [
                $"{entry.Id}", entry.Status, entry.Started.ToLocalTime().ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture), entry.AdapterHash is { } hash ? hash[..HashShown] : "",
                string.Join(terminal ? "\n" : ", ", Describe(entry)),
            ];
            table.AddRow(cells.Select(cell => new Text(Terminal.Visible(cell, lines: true))));
        }

        console.Write(table);
    }

    private static IEnumerable<string> Describe(RunEntry entry) =>
    [
        $"{entry.Method} of {Path.GetFileName(entry.Base)} on {Path.GetFileName(entry.Data)}",
        .. entry.Loss is { } loss ? [$"{entry.Steps} steps, loss {Number(loss)}{(entry.EvalLoss is { } evaluation ? $", eval loss {Number(evaluation)}" : "")}"] : Array.Empty<string>(),
        .. entry.Metrics.Select(Describe), entry.Folder,
    ];

    private static string Describe(MetricEntry metric) =>
        $"{metric.Metric} {Number(metric.Score)}{(metric is { Low: { } low, High: { } high } ? $" [{Number(low)}, {Number(high)}]" : "")} on {metric.Examples} of {Path.GetFileName(metric.Data)}";

    private static string Number(double? value) => value?.ToString("0.####", CultureInfo.InvariantCulture) ?? "";
}
