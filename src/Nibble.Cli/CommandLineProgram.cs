using System.CommandLine;
using System.Runtime.InteropServices;
using Nibble.Cli.Commands;
using Nibble.Cli.Commands.Data;
using Nibble.Cli.Commands.Eval;
using Nibble.Kernels.Communication;
using Nibble.Serving.Workers;

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
        if (Processes.Count > 1)
        {
            // mpirun gives each process a terminal, for which .NET would write a control sequence into what comes out of mpirun.
            Environment.SetEnvironmentVariable("TERM", null);
        }

        var verbose = new Option<bool>("--verbose") { Description = "Show where an error came from.", Recursive = true };
        var root = new RootCommand("Fine-tunes large language models.")
        {
            TrainCommand.Create(), GenerateCommand.Create(), TokenizeCommand.Create(), RenderCommand.Create(), QuantizeCommand.Create(), MergeCommand.Create(), EvalCommand.Create(),
            DataCommand.Create(), ReportCommand.Create(), RunsCommand.Create(), ReproduceCommand.Create(), InfoCommand.Create(), QuickstartCommand.Create(), ServeCommand.Create(),
            KeysCommand.Create(), WorkerCommand.Create(), ChatWorkerCommand.Create(),
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
            int code = await parsed.InvokeAsync(configuration, interruption.Token).ConfigureAwait(false);
            Processes.Leave();
            return code;
        }
        catch (Exception exception)
        {
            int code = await ReportAsync(exception, parsed.GetValue(verbose), interruption.Token).ConfigureAwait(false);
            if (code == Interrupted)
            {
                Processes.Leave(); // Rank 0 may still be saving.
            }
            else
            {
                Processes.Abort(code);
            }

            return code;
        }

        // The first signal lets the command save what it has; a second one ends the process at once.
        void Interrupt(PosixSignalContext context)
        {
            context.Cancel = !interruption.IsCancellationRequested;
            interruption.Cancel();
        }
    }

    internal static string OneLine(string text) => string.Join(' ', text.Split((char[])['\r', '\n', '\t'], StringSplitOptions.RemoveEmptyEntries));

    private static async Task<int> ReportAsync(Exception exception, bool verbose, CancellationToken ended)
    {
        while (exception is TypeInitializationException or AggregateException && exception.InnerException is { } inner)
        {
            exception = inner;
        }

        if (exception is OperationCanceledException)
        {
            await (Processes.Rank == 0 ? Console.Error.WriteLineAsync("nibble: interrupted") : Task.CompletedTask).ConfigureAwait(false);
            return Interrupted;
        }

        if (!await RankZeroHasSpokenAsync(ended).ConfigureAwait(false))
        {
            string where = Processes.Count > 1 ? $"rank {Processes.Rank}: " : "";
            string text = verbose ? exception.ToString() : OneLine(exception.Message);
            await Console.Error.WriteLineAsync($"nibble: {where}{text}").ConfigureAwait(false);
        }

        return CodeOf(exception);
    }

    /// <summary>The exit code that an exception comes to.</summary>
    internal static int CodeOf(Exception exception) => exception switch
    {
        OperationCanceledException => Interrupted,
        PassingFailureException => Worker.TryAgain,
        ArgumentException or UsageException => WrongUse,
        _ => Failed,
    };

    /// <summary>What all processes of a run find wrong, rank 0 says; that ends the others, which wait a moment for it.</summary>
    private static async Task<bool> RankZeroHasSpokenAsync(CancellationToken ended)
    {
        if (Processes.Rank > 0)
        {
            await Task.Delay(TimeSpan.FromSeconds(2), ended).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return Processes.Rank > 0 && ended.IsCancellationRequested;
    }
}

/// <summary>The command was called wrongly.</summary>
/// <param name="message">What is wrong, and what would be right.</param>
public sealed class UsageException(string message) : Exception(message);
