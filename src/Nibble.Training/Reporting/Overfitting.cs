using System.Globalization;

namespace Nibble.Training.Reporting;

/// <summary>Tells when a model learns its training data by heart: the training loss falls while the evaluation loss rises.</summary>
public static class Overfitting
{
    /// <summary>By how much the evaluation loss must rise; less is noise of the last digits.</summary>
    private const double Rise = 0.005;

    /// <summary>What happened between the last two evaluations, or null where that is no over-fitting.</summary>
    /// <param name="losses">Training losses by step, in order.</param>
    /// <param name="evaluations">In order.</param>
    public static string? Between(IReadOnlyList<(int Step, double Loss)> losses, IReadOnlyList<EvalMetrics> evaluations)
    {
        ArgumentNullException.ThrowIfNull(losses);
        ArgumentNullException.ThrowIfNull(evaluations);
        if (evaluations is not [.., { } before, { } now] || now.EvalLoss <= before.EvalLoss * (1 + Rise))
        {
            return null;
        }

        // As many steps on either side of the earlier evaluation.
        int steps = now.Step - before.Step;
        double[] earlier = Losses(before.Step - steps, before.Step);
        double[] later = Losses(before.Step, now.Step);
        return earlier.Length > 0 && later.Length > 0 && later.Average() < earlier.Average()
            ? string.Create(
                CultureInfo.InvariantCulture,
                $"Over-fitting: from step {before.Step} to {now.Step} the evaluation loss rose from {before.EvalLoss:0.0000} to {now.EvalLoss:0.0000} while the training loss fell from {earlier.Average():0.0000} to {later.Average():0.0000}.")
            : null;

        double[] Losses(int after, int to) => [.. losses.Where(item => item.Step > after && item.Step <= to).Select(item => item.Loss)];
    }
}
