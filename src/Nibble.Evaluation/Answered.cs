namespace Nibble.Evaluation;

/// <summary>What metrics of text read of an example.</summary>
/// <param name="Prediction">The answer.</param>
/// <param name="References">What is accepted; never empty.</param>
internal readonly record struct Answered(string Prediction, IReadOnlyList<string> References)
{
    /// <summary>All examples, in order.</summary>
    /// <exception cref="InvalidDataException">There are none, or one has no prediction or no reference.</exception>
    public static IEnumerable<Answered> Of(IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation) =>
        Predictions(examples, cancellation).Zip(examples, (prediction, example) => new Answered(prediction, example.References))
            .Select((answered, index) => answered.References.Count > 0
                ? answered
                : throw new InvalidDataException($"Example {index} has no reference to compare its prediction with."));

    /// <summary>All predictions, in order.</summary>
    /// <exception cref="InvalidDataException">There are none, or an example has none.</exception>
    public static IEnumerable<string> Predictions(IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(examples);
        if (examples.Count == 0)
        {
            throw new InvalidDataException("There is no example to measure.");
        }

        return examples.Select((example, index) =>
        {
            cancellation.ThrowIfCancellationRequested();
            return example.Prediction ?? throw new InvalidDataException($"Example {index} has no prediction.");
        });
    }
}
