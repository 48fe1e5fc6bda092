using Nibble.Evaluation.Statistics;

namespace Nibble.Evaluation.Text;

/// <summary>A metric whose score over all examples is no mean of theirs, but follows from sums of what was counted in each.</summary>
public abstract class CorpusEvaluator : IEvaluator
{
    /// <inheritdoc/>
    public abstract string Metric { get; }

    /// <summary>Whether more is better.</summary>
    private protected virtual bool HigherIsBetter => true;

    /// <inheritdoc/>
    public Task<EvaluationResult> EvaluateAsync(IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation = default)
    {
        double[][] statistics = [.. Answered.Of(examples, cancellation).Select(example => Count(example.Prediction, example.References))];
        double[] totals = Bootstrap.Totals(statistics);
        return Task.FromResult(new EvaluationResult(Metric, Score(totals), Details(totals))
        {
            Values = [.. statistics.Select(row => (double?)ExampleScore(row))],
            Interval = Bootstrap.Corpus(statistics, Score),
            HigherIsBetter = HigherIsBetter,
        });
    }

    /// <summary>The figures of one example.</summary>
    private protected abstract double[] Count(string prediction, IReadOnlyList<string> references);

    /// <summary>The score that sums of such figures come to.</summary>
    private protected abstract double Score(double[] totals);

    /// <summary>The score of one example alone.</summary>
    private protected virtual double ExampleScore(double[] counts) => Score(counts);

    /// <summary>What else the sums tell.</summary>
    private protected abstract IReadOnlyDictionary<string, double> Details(double[] totals);
}
