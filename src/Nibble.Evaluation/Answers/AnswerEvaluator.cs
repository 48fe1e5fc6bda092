namespace Nibble.Evaluation.Answers;

/// <summary>A metric that compares an answer, found in each text by an expression if so wished, with the references; the best one counts.</summary>
/// <remarks>Details: <c>unextracted</c>, the predictions without an answer, which count as wrong.</remarks>
public abstract class AnswerEvaluator : IEvaluator
{
    private readonly AnswerExtraction? extraction;

    private protected AnswerEvaluator(AnswerExtraction? extraction) => this.extraction = extraction;

    /// <inheritdoc/>
    public abstract string Metric { get; }

    /// <inheritdoc/>
    public Task<EvaluationResult> EvaluateAsync(IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation = default)
    {
        int unextracted = 0;
        double?[] values = [.. Answered.Of(examples, cancellation).Select((example, index) =>
        {
            string[] references = [.. extraction is null ? example.References : example.References.Select(extraction.FindOrAll)];
            CheckReferences(references, index);
            string? answer = extraction is null ? example.Prediction : extraction.Find(example.Prediction);
            double? value = answer is null ? null : references.Max(reference => Compare(answer, reference));
            unextracted += value is null ? 1 : 0;
            return (double?)(value ?? 0);
        })];
        return Task.FromResult(MeanResult.Of(Metric, values, new Dictionary<string, double> { ["unextracted"] = unextracted }));
    }

    /// <summary>How well an answer agrees with a reference, from 0 to 1; null where it is no answer at all.</summary>
    private protected abstract double? Compare(string answer, string reference);

    /// <summary>Refuses references with which nothing can be compared.</summary>
    private protected virtual void CheckReferences(string[] references, int index)
    {
    }
}
