using System.CommandLine;
using System.Runtime.InteropServices;
using Nibble.Cli.Commands;
using Nibble.Cli.Commands.Data;
using Nibble.Cli.Commands.Eval;

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
            DataCommand.Create(), ReportCommand.Create(), RunsCommand.Create(), ReproduceCommand.Create(), InfoCommand.Create(), QuickstartCommand.Create(),
        };
        root.Options.Add(verbose);
        ParseResult parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null }); // A prompt may begin with @.
        if (parsed.Errors.Count > 0)
        {
            await Console.Error.WriteLineAsync($"nibble: {OneLine(parsed.Errors[^1].Message)} (see 'nibble --help')").ConfigureAwait(false);
            return WrongUse;
        }

        using var interruption = new CancellationTokenSource();
        using PosixSignalRegistration onInterrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Interrupt);
        using PosixSignalRegistration onTerminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Interrupt);
        try
        {
            // Exceptions come here instead of being printed with their stack. The library would listen for signals only after
            // a command's first await, and the commands have none.
            var configuration = new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
            return await parsed.InvokeAsync(configuration, interruption.Token).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            return await ReportAsync(exception, parsed.GetValue(verbose)).ConfigureAwait(false);
        }

        // The first signal lets the command save what it has; a second one ends the process at once.
        void Interrupt(PosixSignalContext context)
        {
            context.Cancel = !interruption.IsCancellationRequested;
            interruption.Cancel();
        }
    }

    private static string OneLine(string text) => string.Join(' ', text.Split((char[])['\r', '\n', '\t'], StringSplitOptions.RemoveEmptyEntries));

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

        string text = verbose ? exception.ToString() : OneLine(exception.Message);
        await Console.Error.WriteLineAsync($"nibble: {text}").ConfigureAwait(false);
        return exception is ArgumentException or UsageException ? WrongUse : Failed;
    }
}

/// <summary>The command was called wrongly.</summary>
/// <param name="message">What is wrong, and what would be right.</param>
public sealed class UsageException(string message) : Exception(message);
