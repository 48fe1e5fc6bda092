namespace Nibble.Training.Checkpointing;

/// <summary>Where a run stands; with the weights and the optimizer's states, all that resuming needs.</summary>
public sealed record TrainingState
{
    /// <summary>Optimizer steps done.</summary>
    public int Step { get; init; }

    /// <summary>Micro-batches done; names the next dropout masks and the position in the data.</summary>
    public long Passes { get; init; }

    /// <summary>Tokens read.</summary>
    public long Tokens { get; init; }

    /// <summary>Updates that the optimizer has made (skipped float16 steps do not count).</summary>
    public int Updates { get; init; }

    /// <summary>Factor on float16 losses.</summary>
    public double LossScale { get; init; } = 1;

    /// <summary>Good steps since the factor changed.</summary>
    public int LossScaleGoodSteps { get; init; }

    /// <summary>The best evaluation so far by <c>metric_for_best_model</c>, less being better (a score of which more is better counts negative); null before the first.</summary>
    public double? BestEvaluation { get; init; }

    /// <summary>Evaluations since then.</summary>
    public int EvaluationsWithoutImprovement { get; init; }
}
