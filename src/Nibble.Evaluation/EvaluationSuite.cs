using System.Globalization;

namespace Nibble.Evaluation;

/// <summary>Several metrics of the same examples.</summary>
public sealed class EvaluationSuite
{
    private readonly List<IEvaluator> evaluators = [];
    private readonly List<EvaluationResult> results = [];

    /// <summary>What the metrics of the last run came to, as far as it got.</summary>
    public IReadOnlyList<EvaluationResult> Results => results;

    /// <summary>The results as a table: metric, score, 95% interval, and how many of the examples were scored.</summary>
    public string Summary => TextTable.Of([["metric", "score", "95% interval", "scored"], .. results.Select(Row)]);

    /// <summary>Adds a metric.</summary>
    public EvaluationSuite Add(IEvaluator evaluator)
    {
        ArgumentNullException.ThrowIfNull(evaluator);
        evaluators.Add(evaluator);
        return this;
    }

    /// <summary>Measures the examples by one metric after the other, in the order in which they were added.</summary>
    /// <exception cref="InvalidDataException">A metric failed; the message names it.</exception>
    public async Task<IReadOnlyList<EvaluationResult>> RunAsync(IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation = default)
    {
        results.Clear();
        foreach (IEvaluator evaluator in evaluators)
        {
            try
            {
                results.Add(await evaluator.EvaluateAsync(examples, cancellation).ConfigureAwait(false));
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                throw new InvalidDataException($"{evaluator.Metric}: {exception.Message}", exception);
            }
        }

        return results;
    }

    private static string[] Row(EvaluationResult result) =>
    [
        result.Metric,
        Figure(result.Score),
        result.Interval is { } interval ? $"{Figure(interval.Low)} .. {Figure(interval.High)}" : "-",
        $"{result.Values.Count(value => value is not null)} of {result.Values.Count}",
    ];

    private static string Figure(double value) => value.ToString("F4", CultureInfo.InvariantCulture);
}
