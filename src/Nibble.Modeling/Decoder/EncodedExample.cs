namespace Nibble.Modeling.Decoder;

/// <summary>An example as the model sees it.</summary>
/// <param name="InputIds">Tokens.</param>
/// <param name="Labels">Like the tokens, -100 where nothing is learned; not shifted.</param>
public sealed record EncodedExample(int[] InputIds, int[] Labels)
{
    /// <summary>Tokens that are predicted and learned: labels after the first position.</summary>
    public int Targets => Labels.Skip(1).Count(label => label >= 0);

    /// <summary>The last run of learned tokens, which in a conversation is its last answer, and all that is given before it.</summary>
    public (int[] Prompt, int[] Answer) Question()
    {
        int last = Array.FindLastIndex(Labels, label => label >= 0);
        int start = Math.Max(1, last < 0 ? Labels.Length : Array.FindLastIndex(Labels, last, label => label < 0) + 1);
        return (InputIds[..start], Labels[start..(Math.Max(start - 1, last) + 1)]);
    }

    /// <summary>Examples laid end to end.</summary>
    public static TokenBatch Batch(IReadOnlyList<EncodedExample> examples) =>
        new([.. examples.SelectMany(example => example.InputIds)], [.. examples.Select(example => example.InputIds.Length)])
        {
            Labels = [.. examples.SelectMany(example => example.Labels)],
        };

    /// <summary>Batches of neighbouring examples with a bounded number of tokens; a longer example is a batch of its own.</summary>
    public static IEnumerable<TokenBatch> Batches(IEnumerable<EncodedExample> examples, int maxTokens)
    {
        ArgumentNullException.ThrowIfNull(examples);
        var batch = new List<EncodedExample>();
        int tokens = 0;
        foreach (EncodedExample example in examples)
        {
            if (batch.Count > 0 && tokens + example.InputIds.Length > maxTokens)
            {
                yield return Batch(batch);
                (batch, tokens) = ([], 0);
            }

            batch.Add(example);
            tokens += example.InputIds.Length;
        }

        if (batch.Count > 0)
        {
            yield return Batch(batch);
        }
    }
}
