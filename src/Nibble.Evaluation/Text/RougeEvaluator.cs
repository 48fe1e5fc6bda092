using System.Globalization;

namespace Nibble.Evaluation.Text;

/// <summary>ROUGE (Lin 2004), equal to Google's rouge_score: the mean F measure, of the best reference where there are several, from 0 to 1.</summary>
/// <remarks>Reads prediction and references. Details: the means of precision, recall and fmeasure.</remarks>
public sealed class RougeEvaluator : IEvaluator
{
    private readonly Func<string, string, RougeTokens, RougeScore> score;
    private readonly bool useStemmer;

    /// <summary>One kind of ROUGE.</summary>
    /// <param name="metric">
    /// <c>rouge1</c> to <c>rouge9</c> for n-grams, <c>rougeL</c> for the longest common subsequence, <c>rougeLsum</c> for its union
    /// over lines.
    /// </param>
    /// <param name="useStemmer">Whether words count as equal that have the same stem.</param>
    /// <exception cref="ArgumentException">There is no such metric.</exception>
    public RougeEvaluator(string metric, bool useStemmer = false)
    {
        Metric = metric;
        this.useStemmer = useStemmer;
        score = metric switch
        {
            "rougeL" => (reference, prediction, tokens) => RougeScore.Subsequence(tokens.Of(reference), tokens.Of(prediction)),
            "rougeLsum" => (reference, prediction, tokens) => RougeScore.Summary(Lines(reference, tokens), Lines(prediction, tokens)),
            ['r', 'o', 'u', 'g', 'e', >= '1' and <= '9'] => (reference, prediction, tokens) =>
                RougeScore.NGram(tokens.Of(reference), tokens.Of(prediction), int.Parse(metric[^1..], CultureInfo.InvariantCulture)),
            _ => throw new ArgumentException($"'{metric}' is not rouge1 to rouge9, rougeL or rougeLsum.", nameof(metric)),
        };
    }

    /// <inheritdoc/>
    public string Metric { get; }

    /// <inheritdoc/>
    public Task<EvaluationResult> EvaluateAsync(IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation = default)
    {
        var tokens = new RougeTokens(useStemmer);
        RougeScore[] scores =
        [
            .. Answered.Of(examples, cancellation).Select(example =>
                example.References.Select(reference => score(reference, example.Prediction, tokens)).MaxBy(found => found.FMeasure)),
        ];
        return Task.FromResult(MeanResult.Of(Metric, [.. scores.Select(found => (double?)found.FMeasure)], new Dictionary<string, double>
        {
            ["precision"] = scores.Average(found => found.Precision),
            ["recall"] = scores.Average(found => found.Recall),
            ["fmeasure"] = scores.Average(found => found.FMeasure),
        }));
    }

    private static IEnumerable<List<string>> Lines(string text, RougeTokens tokens) => text.Split('\n').Select(tokens.Of);
}
