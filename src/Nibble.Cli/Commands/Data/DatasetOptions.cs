using System.CommandLine;
using Nibble.Data;

namespace Nibble.Cli.Commands.Data;

/// <summary>How a file of examples is read: its form and columns, and what becomes of bad lines.</summary>
internal sealed class DatasetOptions
{
    private const string Skip = "skip";
    private const string Fail = "fail";

    private readonly Option<string> format = new("--format") { Description = "The form of the examples.", DefaultValueFactory = _ => "auto" };

    private readonly Option<string[]> map = new("--map") { Description = "Read a field from another column, such as prompt=question or output=answers.0.text.", HelpName = "field=column" };

    private readonly Option<string> onError = new("--on-error") { Description = "Whether a bad line ends the command or is skipped and counted.", DefaultValueFactory = _ => Fail };

    public DatasetOptions()
    {
        format.AcceptOnlyFromAmong("auto", "alpaca", "chat", "openai", "sharegpt", "completion", "choice", "text", "tokenized");
        onError.AcceptOnlyFromAmong(Skip, Fail);
    }

    /// <summary>Adds the options to a command.</summary>
    /// <param name="command">The command.</param>
    /// <param name="mayFail">Whether it is for the user to say what becomes of bad lines.</param>
    public void AddTo(Command command, bool mayFail = true)
    {
        command.Options.Add(format);
        command.Options.Add(map);
        if (mayFail)
        {
            command.Options.Add(onError);
        }
    }

    /// <summary>The format of a name; OpenAI's messages are what everybody else calls chat.</summary>
    public static DatasetFormat Parse(string name) => name == "openai" ? DatasetFormat.Chat : Enum.Parse<DatasetFormat>(name, ignoreCase: true);

    public DatasetFormat Format(ParseResult result) => Parse(result.GetRequiredValue(format));

    public IReadOnlyDictionary<string, string> Map(ParseResult result)
    {
        var columns = new Dictionary<string, string>();
        foreach (string item in result.GetValue(map) ?? [])
        {
            int equals = item.IndexOf('=', StringComparison.Ordinal);
            if (equals <= 0 || equals == item.Length - 1 || !columns.TryAdd(item[..equals], item[(equals + 1)..]))
            {
                throw new UsageException($"--map is '{item}'; it must be field=column, each field once.");
            }
        }

        return columns;
    }

    /// <summary>How the file is read; skipped lines are counted and the first of them shown.</summary>
    public DatasetReadOptions Reading(ParseResult result, SkippedLines skipped) => new()
    {
        Format = Format(result),
        Map = Map(result),
        OnBadLine = result.GetValue(onError) == Skip ? skipped.Add : null,
    };
}
