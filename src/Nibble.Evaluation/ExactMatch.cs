using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;

namespace Nibble.Evaluation;

/// <summary>How many prompts a model answers, greedily, with exactly the expected tokens.</summary>
/// <param name="Correct">Answers that are equal, end tokens aside.</param>
/// <param name="Total">Prompts.</param>
public readonly record struct ExactMatch(int Correct, int Total)
{
    /// <summary>Share of correct answers.</summary>
    public double Rate => (double)Correct / Math.Max(1, Total);

    /// <summary>Answers all prompts.</summary>
    /// <param name="model">The model, with whatever adapter is attached.</param>
    /// <param name="questions">Prompt and expected answer as tokens.</param>
    /// <param name="batchSize">Prompts at a time.</param>
    /// <param name="cancellation">Ends it between tokens.</param>
    public static ExactMatch Of(
        DecoderModel model, IReadOnlyList<(int[] Prompt, int[] Answer)> questions, int batchSize = 16, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(questions);
        HashSet<int> ends = [.. model.Config.EosTokenIds];
        int correct = 0;
        foreach ((int[] Prompt, int[] Answer)[] chunk in questions.Chunk(batchSize))
        {
            var options = new GenerationOptions { MaxNewTokens = chunk.Max(item => item.Answer.Length) + 1 };
            int[][] answers = TextGenerator.Generate(model, [.. chunk.Select(item => item.Prompt)], options, cancellation: cancellation);
            correct += answers.Zip(chunk).Count(pair => Without(pair.First, ends).SequenceEqual(Without(pair.Second.Answer, ends)));
        }

        return new ExactMatch(correct, questions.Count);
    }

    private static IEnumerable<int> Without(IEnumerable<int> ids, HashSet<int> ends) => ids.TakeWhile(id => !ends.Contains(id));
}
