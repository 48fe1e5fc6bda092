using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Evaluation.Likelihood;

/// <summary>
/// How often a model finds the right one of several answers the likeliest, as lm-evaluation-harness counts it: <c>acc</c> by
/// the answer's log-likelihood, <c>acc_norm</c> by that per byte, which does not favour short answers.
/// Reads <see cref="EvaluationExample.Choices"/>.
/// </summary>
/// <param name="model">The model, with whatever adapter is attached.</param>
/// <param name="tokenizer">Tells the answers' bytes.</param>
/// <param name="normalized">Whether the score is acc_norm; the other one is among the details.</param>
public sealed class MultipleChoiceEvaluator(DecoderModel model, HfTokenizer tokenizer, bool normalized = false) : IEvaluator
{
    private const string Accuracy = "acc";
    private const string NormalizedAccuracy = "acc_norm";

    /// <inheritdoc/>
    public string Metric => normalized ? NormalizedAccuracy : Accuracy;

    /// <summary>Tokens computed together.</summary>
    public int BatchTokens { get; init; } = 2048;

    /// <summary>Told how many answers were read, of how many.</summary>
    public Action<int, int>? Progress { get; init; }

    /// <inheritdoc/>
    public Task<EvaluationResult> EvaluateAsync(IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(examples);
        EncodedExample[] answers = [.. examples.SelectMany(Choices)];
        var sums = new List<double>();
        foreach (EvaluationLoss loss in EvaluationLoss.OfEach(model, EncodedExample.Batches(answers, BatchTokens), cancellation))
        {
            sums.Add(loss.Sum);
            Progress?.Invoke(sums.Count, answers.Length);
        }

        var right = new List<bool>();
        var rightPerByte = new List<bool>();
        int first = 0;
        foreach (EvaluationExample example in examples)
        {
            int[] range = [.. Enumerable.Range(first, example.Choices.Count)];
            right.Add(range.MinBy(i => sums[i]) == first + example.Answer);
            rightPerByte.Add(range.MinBy(i => sums[i] / Math.Max(1, PerplexityEvaluator.Bytes(tokenizer, answers[i].Labels))) == first + example.Answer);
            first += example.Choices.Count;
        }

        (List<bool> own, List<bool> other) = normalized ? (rightPerByte, right) : (right, rightPerByte);
        return Task.FromResult(MeanResult.Of(
            Metric, [.. own.Select(value => (double?)(value ? 1 : 0))], new Dictionary<string, double> { [normalized ? Accuracy : NormalizedAccuracy] = other.Average(value => value ? 1 : 0) }));
    }

    private IReadOnlyList<EncodedExample> Choices(EvaluationExample example, int index) => example.Choices.Count > 1
        ? example.Choices
        : throw new InvalidDataException($"example {index + 1} has {example.Choices.Count} choices; multiple choice needs at least two.");
}
