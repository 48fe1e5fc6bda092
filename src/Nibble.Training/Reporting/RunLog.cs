namespace Nibble.Training.Reporting;

/// <summary>Where a run's numbers go: metrics.jsonl and TensorBoard.</summary>
internal sealed class RunLog(string folder, int afterStep) : IDisposable
{
    private readonly MetricsLog lines = new(Path.Combine(folder, MetricsLog.FileName), afterStep);
    private readonly TensorBoardWriter board = new(folder);

    /// <summary>What the run had logged before it was resumed.</summary>
    public (IReadOnlyList<(int Step, double Loss)> Losses, IReadOnlyList<EvalMetrics> Evaluations) Earlier => (lines.EarlierLosses, lines.EarlierEvaluations);

    public void Write(StepMetrics metrics)
    {
        lines.Write(metrics);
        board.Scalar("train/loss", metrics.Step, metrics.Loss);
        board.Scalar("train/learning_rate", metrics.Step, metrics.LearningRate);
        board.Scalar("train/grad_norm", metrics.Step, metrics.GradNorm);
        board.Scalar("train/tokens_per_second", metrics.Step, metrics.TokensPerSecond);
    }

    public void Write(EvalMetrics metrics)
    {
        lines.Write(metrics);
        board.Scalar("eval/loss", metrics.Step, metrics.EvalLoss);
        board.Scalar("eval/perplexity", metrics.Step, metrics.EvalPerplexity);
        foreach ((string name, double score) in metrics.Scores ?? new Dictionary<string, double>())
        {
            board.Scalar($"eval/{name}", metrics.Step, score);
        }
    }

    /// <summary>Waits until the numbers are on the disk; any thread may.</summary>
    public void Sync() => lines.Sync();

    public void Dispose()
    {
        lines.Dispose();
        board.Dispose();
    }
}
