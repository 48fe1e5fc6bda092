using Nibble.Evaluation;
using Nibble.Evaluation.Predictions;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Training;

/// <summary>Lets the model answer the first evaluation examples, before training and after it; greedily, so that nothing is drawn.</summary>
internal sealed class SampleAnswers
{
    private const int MaxNewTokens = 128;

    private readonly RunConfig config;
    private readonly ITrainingObserver observer;
    private readonly HfTokenizer? tokenizer;
    private readonly EvaluationExample[] examples;

    /// <summary>Takes the examples; none where the model has no tokenizer.</summary>
    public SampleAnswers(RunConfig config, IReadOnlyList<EncodedExample> evaluation, ITrainingObserver observer)
    {
        this.config = config;
        this.observer = observer;
        EncodedExample[] taken = [.. evaluation.Take(config.Training.ReportSamples)];
        tokenizer = taken.Length > 0 && ModelWriter.HasTokenizer(config.Model) ? HfTokenizer.FromPretrained(config.Model) : null;
        examples = tokenizer is null ? [] : [.. taken.Select(example => EvaluationData.Of(example, tokenizer))];
    }

    /// <summary>The answers of a model that has not learned yet; those of an earlier process are taken as they are.</summary>
    public IReadOnlyList<RunSample> Before(DecoderModel model, CancellationToken cancellation)
    {
        IReadOnlyList<RunSample> earlier = RunSamples.Load(config.OutputDir);
        return earlier.Select(sample => sample.Prompt).SequenceEqual(examples.Select(example => example.Prompt))
            ? earlier
            : [.. Answers(model, "before", cancellation).Zip(examples, (answer, example) => new RunSample(example.Prompt, example.References[0], answer))];
    }

    /// <summary>The same with the answers of the trained model.</summary>
    public IReadOnlyList<RunSample> After(DecoderModel model, IReadOnlyList<RunSample> before) =>
        [.. before.Zip(Answers(model, "after", CancellationToken.None), (sample, answer) => sample with { After = answer })];

    private string[] Answers(DecoderModel model, string when, CancellationToken cancellation)
    {
        if (examples.Length == 0)
        {
            return [];
        }

        observer.Info($"Answering {examples.Length} evaluation examples {when} training, for the report.");
        var generator = new AnswerGenerator(model, tokenizer!, new GenerationOptions { MaxNewTokens = MaxNewTokens })
        {
            BatchSize = config.Training.PerDeviceTrainBatchSize, // What training has memory for.
        };
        return [.. generator.Answer(examples, cancellation).OrderBy(item => item.Example).Select(item => item.Answer)];
    }
}
