namespace Nibble.Evaluation;

/// <summary>Measures answers, or a model's judgement of given answers, by one metric.</summary>
public interface IEvaluator
{
    /// <summary>The metric's name, such as <c>rougeL</c>.</summary>
    string Metric { get; }

    /// <summary>Measures all examples.</summary>
    /// <param name="examples">In the order of their file; the evaluator's comment says which of their parts it reads.</param>
    /// <param name="cancellation">Ends it between examples.</param>
    /// <exception cref="InvalidDataException">An example lacks what the metric reads.</exception>
    Task<EvaluationResult> EvaluateAsync(IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation = default);
}
