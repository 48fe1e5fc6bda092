using Nibble.Evaluation;
using Nibble.Evaluation.Likelihood;
using Nibble.Evaluation.Predictions;
using Nibble.Kernels.Communication;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;
using Nibble.Training.Configuration;
using Nibble.Training.Distributed;
using Nibble.Training.Reporting;

namespace Nibble.Training;

/// <summary>The examples that a run is evaluated on, and what is measured of them.</summary>
internal sealed class HeldOutSet
{
    private readonly DecoderModel model;
    private readonly IReadOnlyList<EncodedExample> examples;
    private readonly TrainingSection settings;
    private readonly ICommunicator world;
    private readonly ParallelOptimizer optimizer;
    private readonly IEvaluator[] evaluators;
    private readonly EvaluationExample[] questions = [];
    private readonly AnswerGenerator? generator;
    private EvaluationResult[] results = [];

    /// <summary>Measures the loss, each process on its share, and on rank 0 the answers if there are metrics of them.</summary>
    public HeldOutSet(DecoderModel model, string folder, IReadOnlyList<EncodedExample> examples, TrainingSection settings, ICommunicator world, ParallelOptimizer optimizer)
    {
        this.model = model;
        this.examples = examples;
        this.settings = settings;
        this.world = world;
        this.optimizer = optimizer;
        evaluators = [.. settings.EvalMetrics.Select(name => Metrics.Create(name, new MetricOptions { Extract = settings.EvalExtract }))];
        if (evaluators.Length > 0 && examples.Count > 0 && world.Rank == 0)
        {
            HfTokenizer tokenizer = HfTokenizer.FromPretrained(folder);
            questions = [.. examples.Select(example => EvaluationData.Of(example, tokenizer))];
            generator = new AnswerGenerator(model, tokenizer, new GenerationOptions { MaxNewTokens = settings.EvalMaxNewTokens })
            {
                BatchSize = settings.PerDeviceTrainBatchSize, // What training has memory for.
            };
        }
    }

    /// <summary>Whether there is nothing to evaluate on.</summary>
    public bool IsEmpty => examples.Count == 0;

    /// <summary>Evaluates the model as it is.</summary>
    public EvalMetrics Evaluate(int step, double epoch)
    {
        EncodedExample[][] chunks = [.. examples.Chunk(settings.PerDeviceTrainBatchSize)];
        EvaluationLoss share = EvaluationLoss.Of(model, chunks.Where((_, i) => i % world.Size == world.Rank).Select(EncodedExample.Batch));
        if (chunks.Length % world.Size is var beyond && beyond > 0 && world.Rank >= beyond)
        {
            optimizer.IdlePass(training: false);
        }

        EvaluationLoss loss = world.Gather(share.Sum, share.Tokens).Select(part => new EvaluationLoss(part[0], (long)part[1])).Aggregate(EvaluationLoss.Add);
        results = evaluators.Length == 0 ? [] : optimizer.Alone(() => Score(generator!)) ?? [];
        return new EvalMetrics(step, epoch, loss.Mean, loss.Perplexity)
        {
            Scores = results.Length == 0 ? null : results.ToDictionary(result => result.Metric, result => result.Score),
        };
    }

    /// <summary>The figure of the last evaluation that decides which one is best; less is better.</summary>
    public double Badness(EvalMetrics metrics) => Array.Find(results, result => result.Metric == settings.MetricForBestModel) is { } judge
        ? judge.HigherIsBetter ? -judge.Score : judge.Score
        : metrics.EvalLoss;

    private EvaluationResult[] Score(AnswerGenerator generator)
    {
        EvaluationExample[] answered = [.. questions];
        foreach ((int example, string answer) in generator.Answer(questions))
        {
            answered[example] = answered[example] with { Prediction = answer };
        }

        // Metrics of text have nothing to wait for.
        return [.. evaluators.Select(evaluator => evaluator.EvaluateAsync(answered).GetAwaiter().GetResult())];
    }
}
