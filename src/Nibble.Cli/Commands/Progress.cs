using System.Diagnostics;
using System.Globalization;
using Nibble.Modeling.Decoder;
using Nibble.Training;
using Nibble.Training.Reporting;
using Spectre.Console;

namespace Nibble.Cli.Commands;

/// <summary>Shows long work on standard error: a live bar on a terminal, plain lines elsewhere, nothing but errors for machines.</summary>
internal static class Progress
{
    /// <summary>Loads a model, with a bar that goes away on a terminal.</summary>
    public static DecoderModel Load(string folder, LoadOptions options, CancellationToken cancellation)
    {
        IAnsiConsole console = Terminal();
        return !console.Profile.Out.IsTerminal ? Load(_ => { }) : console.Progress().AutoClear(true).Start(context =>
        {
            ProgressTask bar = context.AddTask("loading");
            return Load(share => bar.Value = share * bar.MaxValue);
        });

        DecoderModel Load(Action<double> show) => ModelLoader.Load(folder, options with
        {
            Progress = (done, total) =>
            {
                cancellation.ThrowIfCancellationRequested();
                show((double)done / total);
            },
        });
    }

    /// <summary>Does work that counts what it has done: a bar that goes away on a terminal, a line every tenth elsewhere.</summary>
    public static T Count<T>(string title, Func<Action<int, int>, T> work)
    {
        IAnsiConsole console = Terminal();
        if (console.Profile.Out.IsTerminal)
        {
            return console.Progress().AutoClear(true)
                .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
                .Start(context =>
                {
                    ProgressTask bar = context.AddTask(title);
                    return work((done, total) => (bar.MaxValue, bar.Value) = (total, done));
                });
        }

        int shown = 0;
        return work((done, total) =>
        {
            int tenth = (int)(10L * done / Math.Max(1, total));
            shown = tenth < shown ? 0 : shown; // Counted anew.
            if (tenth > shown)
            {
                shown = tenth;
                Console.Error.WriteLine($"{title}: {done} of {total}");
            }
        });
    }

    /// <summary>Does work that counts rows without knowing how many there are: their number on a terminal, a line every ten seconds elsewhere.</summary>
    public static T Rows<T>(string title, Func<Action<long>, T> work)
    {
        IAnsiConsole console = Terminal();
        return console.Profile.Out.IsTerminal
            ? console.Status().Start(title, status => work(Every(TimeSpan.FromSeconds(0.1), text => status.Status(text))))
            : work(Every(TimeSpan.FromSeconds(10), Console.Error.WriteLine));

        Action<long> Every(TimeSpan pause, Action<string> show)
        {
            var clock = Stopwatch.StartNew();
            return rows =>
            {
                if (clock.Elapsed > pause)
                {
                    show(string.Create(CultureInfo.InvariantCulture, $"{title}: {rows:N0} rows"));
                    clock.Restart();
                }
            };
        }
    }

    public static TrainingResult Show(bool quiet, Func<ITrainingObserver?, TrainingResult> run)
    {
        if (quiet)
        {
            return run(null);
        }

        IAnsiConsole console = Terminal();
        if (!console.Profile.Out.IsTerminal)
        {
            return run(new Lines());
        }

        return console.Progress().AutoClear(false)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .Start(context => run(new Bars(console, context)));
    }

    private static IAnsiConsole Terminal() => AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) });

    private static string Describe(StepMetrics m) => string.Create(
        CultureInfo.InvariantCulture,
        $"step {m.Step}  epoch {m.Epoch:0.00}  loss {m.Loss:0.0000}  lr {m.LearningRate:0.00e+0}  grad {m.GradNorm:0.00}  {m.TokensPerSecond:0} tokens/s  {m.PeakMemoryBytes / 1048576} MB");

    private static string Describe(EvalMetrics m) => string.Create(
        CultureInfo.InvariantCulture, $"step {m.Step}  eval loss {m.EvalLoss:0.0000}  perplexity {m.EvalPerplexity:0.00}{Describe(m.Scores)}");

    private static string Describe(IReadOnlyDictionary<string, double>? scores) =>
        string.Concat((scores ?? new Dictionary<string, double>()).Select(item => string.Create(CultureInfo.InvariantCulture, $"  {item.Key} {item.Value:0.####}")));

    private sealed class Lines : ITrainingObserver
    {
        public void Info(string message) => Console.Error.WriteLine(message);

        public void Logged(StepMetrics metrics) => Console.Error.WriteLine(Describe(metrics));

        public void Evaluated(EvalMetrics metrics) => Console.Error.WriteLine(Describe(metrics));
    }

    private sealed class Bars(IAnsiConsole console, ProgressContext context) : ITrainingObserver
    {
        private readonly ProgressTask loading = context.AddTask("loading");
        private ProgressTask? training;

        public void Info(string message) => console.WriteLine(message);

        public void Loading(int done, int total)
        {
            loading.MaxValue = total;
            loading.Value = done;
        }

        void ITrainingObserver.Progress(int done, int totalSteps, double loss)
        {
            training ??= context.AddTask("training", maxValue: totalSteps);
            training.Value = done;
            training.Description = string.Create(CultureInfo.InvariantCulture, $"training, loss {loss:0.000}");
        }

        public void Logged(StepMetrics metrics) => console.WriteLine(Describe(metrics));

        public void Evaluated(EvalMetrics metrics) => console.WriteLine(Describe(metrics));
    }
}
