using Nibble.Evaluation;

namespace Nibble.Cli.Commands.Eval;

/// <summary>What an evaluation found.</summary>
/// <param name="Report">The figures.</param>
/// <param name="Summary">The figures as a table.</param>
/// <param name="Examples">With the answers, where there are any.</param>
internal sealed record Measured(EvaluationReport Report, string Summary, IReadOnlyList<EvaluationExample> Examples)
{
    /// <summary>Figures without the examples' own, for machines.</summary>
    public object Figures => Report.Results.Select(FiguresOf);

    /// <inheritdoc cref="Figures"/>
    public static object FiguresOf(EvaluationResult result) =>
        new { result.Metric, result.Score, result.Interval, result.Details, Scored = result.Values.Count(value => value is not null) };

    /// <summary>A line of what else a metric tells.</summary>
    public static string Describe(EvaluationResult result) =>
        $"{result.Metric}: {string.Join(", ", result.Details.Select(detail => FormattableString.Invariant($"{detail.Key} {detail.Value:0.####}")))}\n";

    /// <summary>The table, and what else the metrics tell.</summary>
    public override string ToString() => Summary + string.Concat(Report.Results.Where(result => result.Details.Count > 0).Select(Describe));
}
