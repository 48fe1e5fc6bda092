using Nibble.Modeling.Decoder;

namespace Nibble.Training.Batching;

/// <summary>An example as the model sees it.</summary>
/// <param name="InputIds">Tokens.</param>
/// <param name="Labels">Like the tokens, -100 where nothing is learned; not shifted.</param>
public sealed record EncodedExample(int[] InputIds, int[] Labels)
{
    /// <summary>Tokens that are predicted and learned: labels after the first position.</summary>
    public int Targets => Labels.Skip(1).Count(label => label >= 0);

    /// <summary>What is given before the first learned token, and the learned tokens up to the next that is not.</summary>
    public (int[] Prompt, int[] Answer) Question()
    {
        int start = Math.Max(1, Array.FindIndex(Labels, label => label >= 0));
        return (InputIds[..start], [.. Labels.Skip(start).TakeWhile(label => label >= 0)]);
    }

    /// <summary>Examples laid end to end.</summary>
    public static TokenBatch Batch(IReadOnlyList<EncodedExample> examples) =>
        new([.. examples.SelectMany(example => example.InputIds)], [.. examples.Select(example => example.InputIds.Length)])
        {
            Labels = [.. examples.SelectMany(example => example.Labels)],
        };
}
