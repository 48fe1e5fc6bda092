using Nibble.Evaluation.Answers;
using Nibble.Evaluation.Text;

namespace Nibble.Evaluation.Tests;

public class EvaluationSuiteTests
{
    private static readonly EvaluationExample[] Examples = [new("", ["4"], "4"), new("", ["5"], "six"), new("", ["7"], "7"), new("", ["8"], "8")];

    [Fact]
    public async Task The_summary_is_a_table_of_all_results()
    {
        EvaluationSuite suite = new EvaluationSuite().Add(new ExactMatchEvaluator()).Add(new BleuEvaluator());
        IReadOnlyList<EvaluationResult> results = await suite.RunAsync(Examples);
        Assert.Equal(["exact_match", "bleu"], results.Select(result => result.Metric));
        Assert.Same(results, suite.Results);
        string[] lines = suite.Summary.TrimEnd('\n').Split('\n');
        Assert.Equal("metric        score      95% interval  scored", lines[0]);
        Assert.Equal("exact_match  0.7500  0.2500 .. 1.0000  4 of 4", lines[1]);
        Assert.Matches(@"^bleu         0\.0000  +0\.0000 \.\. 0\.0000  4 of 4$", lines[2]);
        Assert.Single(lines.Select(line => line.Length).Distinct());
    }

    [Fact]
    public async Task A_failure_names_its_metric_and_keeps_what_was_measured()
    {
        EvaluationSuite suite = new EvaluationSuite().Add(new ExactMatchEvaluator()).Add(new NumericEvaluator());
        var exception = await Assert.ThrowsAsync<InvalidDataException>(() => suite.RunAsync([.. Examples, new EvaluationExample("", ["none"], "1")]));
        Assert.StartsWith("numeric: Example 4 has the reference 'none'", exception.Message, StringComparison.Ordinal);
        Assert.Equal("exact_match", Assert.Single(suite.Results).Metric);
    }

    [Fact]
    public async Task Interruption_is_no_failure()
    {
        using var interruption = new CancellationTokenSource();
        interruption.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => new EvaluationSuite().Add(new RougeEvaluator("rougeL")).RunAsync(Examples, interruption.Token));
    }
}
