using System.CommandLine;

namespace Nibble.Cli.Commands.Data;

/// <summary><c>nibble data</c></summary>
internal static class DataCommand
{
    public static Command Create() => new("data", "Check, convert, divide, multiply and look at examples.")
    {
        ValidateCommand.Create(), FormatCommand.Create(), SplitCommand.Create(), AugmentCommand.Create(), StatsCommand.Create(), PreviewCommand.Create(),
    };
}
