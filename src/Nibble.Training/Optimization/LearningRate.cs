using Nibble.Training.Configuration;

namespace Nibble.Training.Optimization;

/// <summary>The learning rate over the steps of a run: a linear rise from zero, then a fall as the schedule says.</summary>
public sealed class LearningRate
{
    private readonly TrainingSection config;
    private readonly int warmup;
    private readonly int total;

    /// <summary>The schedule of a run of <paramref name="totalSteps"/> steps.</summary>
    public LearningRate(TrainingSection config, int totalSteps)
    {
        ArgumentNullException.ThrowIfNull(config);
        this.config = config;
        total = totalSteps;
        warmup = config.WarmupSteps > 0 ? config.WarmupSteps : (int)Math.Ceiling(config.WarmupRatio * totalSteps);
    }

    /// <summary>The rate of a step; steps count from 1, and the first of a warm-up has zero.</summary>
    public double At(int step)
    {
        int done = step - 1;
        if (done < warmup)
        {
            return config.LearningRate * done / warmup;
        }

        double progress = (double)(done - warmup) / Math.Max(1, total - warmup);
        return config.LearningRate * config.LrSchedulerType switch
        {
            SchedulerType.Cosine => 0.5 * (1 + Math.Cos(Math.PI * Math.Min(1, progress))),
            SchedulerType.Linear => Math.Max(0, 1 - progress),
            _ => 1,
        };
    }
}
