using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Evaluation.Predictions;

/// <summary>
/// Lets a model answer the prompts of examples. Prompts of like length are answered together. Which ones go together depends on
/// all examples, not on those still unanswered, so that an interrupted run that is resumed gives the answers of an undisturbed one.
/// </summary>
/// <param name="model">The model, with whatever adapter is attached.</param>
/// <param name="tokenizer">Decodes the answers.</param>
/// <param name="options">How tokens are chosen and when an answer ends.</param>
public sealed class AnswerGenerator(DecoderModel model, HfTokenizer tokenizer, GenerationOptions options)
{
    /// <summary>Prompts answered at a time.</summary>
    public int BatchSize { get; init; } = 16;

    /// <summary>Texts that end an answer and do not belong to it; null for none.</summary>
    public StopStrings? Stops { get; init; }

    /// <summary>Answers what is not answered yet.</summary>
    /// <param name="examples">With <see cref="EvaluationExample.Tokens"/>; the last labelled run is the answer to be found.</param>
    /// <param name="cancellation">Ends it between tokens.</param>
    /// <returns>Which example, and its answer; a prompt that leaves the model no position for one is answered with nothing.</returns>
    /// <exception cref="InvalidDataException">An example has no tokens, or no prompt.</exception>
    public IEnumerable<(int Example, string Answer)> Answer(IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(examples);
        int[][] prompts = [.. examples.Select(Prompt)];
        GenerationOptions stopping = options with { StopWhen = Stops is null ? options.StopWhen : Stops.Reached };
        int[][] batches = [.. Enumerable.Range(0, prompts.Length).OrderByDescending(i => prompts[i].Length).ThenBy(i => i).Chunk(BatchSize)];
        foreach (int[] batch in batches.Where(batch => batch.Any(i => examples[i].Prediction is null)))
        {
            int[] answerable = [.. batch.Where(i => prompts[i].Length < model.Config.MaxPositionEmbeddings)];
            int[][] answers = answerable.Length == 0 ? [] : TextGenerator.Generate(model, [.. answerable.Select(i => prompts[i])], stopping, cancellation: cancellation);
            Dictionary<int, string> texts = answerable.Zip(answers).ToDictionary(pair => pair.First, pair => Text(pair.Second));
            foreach (int i in batch.Where(i => examples[i].Prediction is null))
            {
                yield return (i, texts.GetValueOrDefault(i, ""));
            }
        }
    }

    private static int[] Prompt(EvaluationExample example, int index) =>
        (example.Tokens ?? throw new InvalidDataException($"example {index + 1} has no tokens to answer.")).Question().Prompt;

    private string Text(int[] answer)
    {
        string text = tokenizer.Decode(answer, skipSpecialTokens: true);
        return Stops?.Cut(text) ?? text;
    }
}
