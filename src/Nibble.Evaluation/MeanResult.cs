using Nibble.Evaluation.Statistics;

namespace Nibble.Evaluation;

/// <summary>The result of a metric that is a mean over examples.</summary>
internal static class MeanResult
{
    /// <summary>The mean of what could be scored, with its interval.</summary>
    /// <exception cref="InvalidDataException">Nothing could be scored.</exception>
    public static EvaluationResult Of(string metric, double?[] values, IReadOnlyDictionary<string, double> details) =>
        new(metric, values.Average() ?? throw new InvalidDataException($"None of {values.Length} examples could be scored."), details)
        {
            Values = values,
            Interval = Bootstrap.Mean(values),
        };
}
