using System.CommandLine;
using Nibble.Data;

namespace Nibble.Cli.Commands.Data;

/// <summary>The dataset that a command reads: its file, and how.</summary>
internal sealed class DataSource
{
    private readonly Argument<string> file = new("FILE") { Description = "Examples: .jsonl, .json, .csv, .tsv, .txt (each also .gz) or .parquet." };

    private readonly DatasetOptions options = new();

    /// <summary>Adds argument and options to a command.</summary>
    /// <param name="command">The command.</param>
    /// <param name="mayFail">Whether it is for the user to say what becomes of bad lines.</param>
    public void AddTo(Command command, bool mayFail = true)
    {
        command.Arguments.Add(file);
        options.AddTo(command, mayFail);
    }

    public string File(ParseResult result) => result.GetRequiredValue(file);

    /// <summary>Refuses a file to write that exists.</summary>
    public static void RequireNew(string path)
    {
        if (Path.Exists(path))
        {
            throw new UsageException($"{path} exists; choose another --out.");
        }
    }

    public DatasetFormat Format(ParseResult result) => options.Format(result);

    public IReadOnlyDictionary<string, string> Map(ParseResult result) => options.Map(result);

    /// <inheritdoc cref="DatasetOptions.Reading"/>
    public DatasetReadOptions Reading(ParseResult result, SkippedLines skipped) => options.Reading(result, skipped);
}
