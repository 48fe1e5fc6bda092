using Nibble.Evaluation;

namespace Nibble.Training.Reporting;

/// <summary>All that a run's folder tells about the run, also while it is going on.</summary>
/// <param name="Folder">The folder, absolute.</param>
/// <param name="Manifest">Its <c>run.json</c>.</param>
public sealed record RunRecord(string Folder, RunManifest Manifest)
{
    /// <summary>The folder's own name.</summary>
    public string Name => Path.GetFileName(Folder);

    /// <summary>What was logged of training, in order.</summary>
    public IReadOnlyList<StepMetrics> Steps { get; private init; } = [];

    /// <summary>What was logged of evaluations, in order.</summary>
    public IReadOnlyList<EvalMetrics> Evaluations { get; private init; } = [];

    /// <summary>The newest log line; null before the first.</summary>
    public StepMetrics? LastStep => Steps is [.., StepMetrics last] ? last : null;

    /// <summary>The newest evaluation; null before the first.</summary>
    public EvalMetrics? LastEvaluation => Evaluations is [.., EvalMetrics last] ? last : null;

    /// <summary>Evaluation examples as the model answered them.</summary>
    public IReadOnlyList<RunSample> Samples { get; private init; } = [];

    /// <summary>Evaluations that were stored in the folder or below it, by their path.</summary>
    public IReadOnlyList<EvaluationReport> Reports { get; private init; } = [];

    /// <summary>Reads a run's folder.</summary>
    /// <exception cref="InvalidDataException">It holds no run, or a file of it is damaged; the message names it.</exception>
    public static RunRecord Load(string folder)
    {
        string path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        RunManifest manifest = Directory.Exists(path) ? RunManifest.Load(path) : throw new InvalidDataException($"{folder} is not a folder.");
        string metrics = Path.Combine(path, MetricsLog.FileName);
        (IReadOnlyList<StepMetrics> steps, IReadOnlyList<EvalMetrics> evaluations) = File.Exists(metrics) ? MetricsLog.Read(metrics) : ([], []);
        return new RunRecord(path, manifest)
        {
            Steps = steps,
            Evaluations = evaluations,
            Samples = RunSamples.Load(path),
            Reports = [.. Directory.EnumerateFiles(path, EvaluationReport.FileName, SearchOption.AllDirectories).Order(StringComparer.Ordinal).Select(EvaluationReport.Load)],
        };
    }
}
