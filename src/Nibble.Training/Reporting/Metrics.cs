using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.Win32.SafeHandles;
using Nibble.Modeling.Checkpoints;

namespace Nibble.Training.Reporting;

/// <summary>What a log line of training says.</summary>
/// <param name="Step">Optimizer steps done.</param>
/// <param name="Epoch">Passes over the data done.</param>
/// <param name="Loss">Mean over the target tokens of the step.</param>
/// <param name="LearningRate">The rate used in the step.</param>
/// <param name="GradNorm">Global norm before clipping.</param>
/// <param name="Tokens">Tokens read since the run began.</param>
/// <param name="TokensPerSecond">Since the last line.</param>
/// <param name="PeakMemoryBytes">Largest resident memory of the process so far.</param>
public sealed record StepMetrics(
    int Step, double Epoch, double Loss, double LearningRate, double GradNorm, long Tokens, double TokensPerSecond, long PeakMemoryBytes);

/// <summary>What an evaluation found.</summary>
/// <param name="Step">Optimizer steps done.</param>
/// <param name="Epoch">Passes over the data done.</param>
/// <param name="EvalLoss">Mean over all target tokens.</param>
/// <param name="EvalPerplexity">exp of it.</param>
public sealed record EvalMetrics(int Step, double Epoch, double EvalLoss, double EvalPerplexity)
{
    /// <summary>Scores of <c>training.eval_metrics</c> by name; null where none are asked for.</summary>
    public IReadOnlyDictionary<string, double>? Scores { get; init; }
}

/// <summary><c>metrics.jsonl</c>: one JSON object a line, written through at once.</summary>
public sealed class MetricsLog : IDisposable
{
    /// <summary>The file's name in the run's folder.</summary>
    public const string FileName = "metrics.jsonl";

    private static readonly JsonSerializerOptions SnakeCase = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    };

    private readonly SafeFileHandle handle;
    private readonly StreamWriter writer;

    /// <summary>Opens the log of a run that goes on after <paramref name="afterStep"/>; later lines are dropped.</summary>
    public MetricsLog(string path, int afterStep)
    {
        if (File.Exists(path))
        {
            string[] kept = [.. File.ReadLines(path).TakeWhile(line => StepOf(line) <= afterStep)];
            AtomicFile.WriteText(path, string.Concat(kept.Select(line => line + "\n")));
            (IReadOnlyList<StepMetrics> steps, EarlierEvaluations) = Read(path);
            EarlierLosses = [.. steps.Select(metrics => (metrics.Step, metrics.Loss))];
        }

        var file = new FileStream(path, FileMode.Append, FileAccess.Write, FileShare.Read, bufferSize: 0);
        handle = file.SafeFileHandle;
        writer = new StreamWriter(file) { AutoFlush = true };
    }

    /// <summary>All that was logged; a line that a crash cut short counts as the last.</summary>
    /// <exception cref="InvalidDataException">A line is no log line.</exception>
    public static (IReadOnlyList<StepMetrics> Steps, IReadOnlyList<EvalMetrics> Evaluations) Read(string path)
    {
        try
        {
            ILookup<bool, string> lines = File.ReadLines(path).TakeWhile(line => StepOf(line) < int.MaxValue)
                .ToLookup(line => line.Contains("\"eval_loss\"", StringComparison.Ordinal));
            return ([.. lines[false].Select(Parse<StepMetrics>)], [.. lines[true].Select(Parse<EvalMetrics>)]);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            throw new InvalidDataException($"{path} is damaged: {exception.Message}", exception);
        }

        static T Parse<T>(string line) => JsonSerializer.Deserialize<T>(line, SnakeCase)!;
    }

    /// <summary>Training losses that were logged up to where the run goes on.</summary>
    public IReadOnlyList<(int Step, double Loss)> EarlierLosses { get; } = [];

    /// <summary>Evaluations that were logged up to there.</summary>
    public IReadOnlyList<EvalMetrics> EarlierEvaluations { get; } = [];

    /// <summary>Adds a line.</summary>
    public void Write<T>(T metrics) => writer.WriteLine(JsonSerializer.Serialize(metrics, SnakeCase));

    /// <summary>Waits until the lines are on the disk; any thread may.</summary>
    public void Sync() => RandomAccess.FlushToDisk(handle);

    /// <inheritdoc/>
    public void Dispose() => writer.Dispose();

    /// <summary>A line that a crash cut short counts as the last.</summary>
    private static int StepOf(string line)
    {
        try
        {
            using JsonDocument json = JsonDocument.Parse(line);
            return json.RootElement.GetProperty("step").GetInt32();
        }
        catch (JsonException)
        {
            return int.MaxValue;
        }
    }
}
