using System.CommandLine;
using Nibble.Cli.Commands;

namespace Nibble.Cli;

/// <summary>The <c>nibble</c> program: parses, runs a command, and turns failures into one line and an exit code.</summary>
public static class CommandLineProgram
{
    /// <summary>Exit code of a failed command.</summary>
    public const int Failed = 1;

    /// <summary>Exit code of a command that was called wrongly.</summary>
    public const int WrongUse = 2;

    /// <summary>Exit code of an interrupted command.</summary>
    public const int Interrupted = 130;

    /// <summary>Runs the program.</summary>
    public static async Task<int> RunAsync(string[] args)
    {
        var verbose = new Option<bool>("--verbose") { Description = "Show where an error came from.", Recursive = true };
        var root = new RootCommand("Fine-tunes large language models.")
        {
            TrainCommand.Create(), GenerateCommand.Create(), TokenizeCommand.Create(), RenderCommand.Create(), QuantizeCommand.Create(), MergeCommand.Create(), EvalCommand.Create(),
            InfoCommand.Create(), QuickstartCommand.Create(),
        };
        root.Options.Add(verbose);
        ParseResult parsed = root.Parse(args);
        if (parsed.Errors.Count > 0)
        {
            await Console.Error.WriteLineAsync($"nibble: {parsed.Errors[0].Message} (see 'nibble --help')").ConfigureAwait(false);
            return WrongUse;
        }

        try
        {
            // Exceptions come here instead of being printed with their stack; Ctrl-C is given time to save a checkpoint.
            var configuration = new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = TimeSpan.FromMinutes(5) };
            return await parsed.InvokeAsync(configuration).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            return await ReportAsync(exception, parsed.GetValue(verbose)).ConfigureAwait(false);
        }
    }

    private static async Task<int> ReportAsync(Exception exception, bool verbose)
    {
        while (exception is TypeInitializationException or AggregateException && exception.InnerException is { } inner)
        {
            exception = inner;
        }

        if (exception is OperationCanceledException)
        {
            await Console.Error.WriteLineAsync("nibble: interrupted").ConfigureAwait(false);
            return Interrupted;
        }

        string text = verbose ? exception.ToString() : exception.Message.Replace('\n', ' ');
        await Console.Error.WriteLineAsync($"nibble: {text}").ConfigureAwait(false);
        return exception is ArgumentException or UsageException ? WrongUse : Failed;
    }
}

/// <summary>The command was called wrongly.</summary>
/// <param name="message">What is wrong, and what would be right.</param>
public sealed class UsageException(string message) : Exception(message);
