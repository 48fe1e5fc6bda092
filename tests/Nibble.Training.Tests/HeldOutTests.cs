using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Training.Tests;

/// <summary>What is measured while a model trains, and what follows from it.</summary>
public class HeldOutTests
{
    [Fact]
    public void Answers_are_measured_at_each_evaluation_and_logged()
    {
        using var folder = new TempFolder();
        RunConfig config = Taught(folder, "once", "exact_match");
        TrainingResult result = Run(config);

        Assert.Equal(0, result.Evaluations[0].Scores!["exact_match"]);
        Assert.Equal(1, result.Evaluations[^1].Scores!["exact_match"]);
        string line = File.ReadLines(Path.Combine(config.OutputDir, "metrics.jsonl")).Last(item => item.Contains("eval_loss", StringComparison.Ordinal));
        Assert.Contains("\"scores\":{\"exact_match\":1", line, StringComparison.Ordinal);
    }

    [Fact]
    public void The_metric_that_decides_ends_a_run_early_with_the_weights_that_it_found_best()
    {
        using var folder = new TempFolder();
        RunConfig config = Taught(folder, "early", "exact_match", "rougeL");
        TrainingSection training = config.Training with { MaxSteps = 80, EvalSteps = 10, EarlyStoppingPatience = 2, MetricForBestModel = "exact_match" };

        TrainingResult result = Run(config with { Training = training });

        // The loss goes on falling long after every answer is right.
        Assert.Equal(1, result.Evaluations[^3].Scores!["exact_match"]);
        Assert.True(result.Evaluations[^1].EvalLoss < result.Evaluations[^3].EvalLoss);
        Assert.True(result.Steps < 80, $"ran {result.Steps} steps");
    }

    [Fact]
    public void A_model_that_learns_by_heart_is_told_from_one_that_learns()
    {
        using var folder = new TempFolder();
        string[] stories = [.. File.ReadAllText(SharedFolder.Path("data", "text", "tinystories_train_sample.txt")).Split("<|endoftext|>").Take(40).Select(story => story.Trim()[..150])];
        Corpus.Write(folder["few.jsonl"], stories.Take(4));
        Corpus.Write(folder["others.jsonl"], stories.Skip(20));
        var notes = new Notes();
        new FineTuner(Config(folder, "out", "few.jsonl", "others.jsonl") with
        {
            Training = new TrainingSection { MaxSteps = 40, PerDeviceTrainBatchSize = 4, GradientAccumulationSteps = 1, LearningRate = 3e-3, EvalSteps = 10, WarmupRatio = 0 },
        }, notes).Run(cancellation: TestContext.Current.CancellationToken);

        Assert.Contains(notes.Lines, line => line.StartsWith("Over-fitting: from step ", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(1.0, 1.1, 2.0, 1.0, true)]
    [InlineData(1.0, 1.1, 1.0, 2.0, false)] // The training loss rises too: the model gets worse, not learned by heart.
    [InlineData(1.0, 1.001, 2.0, 1.0, false)] // Noise.
    [InlineData(1.1, 1.0, 2.0, 1.0, false)]
    public void Over_fitting_is_a_falling_training_loss_beside_a_rising_evaluation_loss(double evalBefore, double evalNow, double before, double now, bool expected)
    {
        (int, double)[] losses = [.. Enumerable.Range(1, 20).Select(step => (step, step <= 10 ? before : now))];
        string? found = Overfitting.Between(losses, [new EvalMetrics(10, 1, evalBefore, 0), new EvalMetrics(20, 2, evalNow, 0)]);
        Assert.Equal(expected ? "Over-fitting: from step 10 to 20 the evaluation loss rose from 1.0000 to 1.1000 while the training loss fell from 2.0000 to 1.0000." : null, found);
    }

    [Theory]
    [InlineData("training.eval_metrics=[rougeX]", "rougeX")]
    [InlineData("training.eval_metrics=[rougeL]", "training.eval_metrics need evaluations")]
    [InlineData("training.metric_for_best_model=rougeL", "training.metric_for_best_model is 'rougeL'; it must be eval_loss or one of training.eval_metrics")]
    [InlineData("training.eval_max_new_tokens=0", "training.eval_max_new_tokens is 0")]
    public void Mistakes_show_before_anything_is_read(string assignment, string part)
    {
        RunConfig config = ConfigBinder.Load(null, ["model=m", "data.train=a.jsonl", assignment]);
        Assert.Contains(part, Assert.Throws<ArgumentException>(config.Validated).Message, StringComparison.Ordinal);
    }

    /// <summary>A run that learns one answer.</summary>
    private static RunConfig Taught(TempFolder folder, string output, params string[] metrics)
    {
        File.WriteAllLines(folder["data.jsonl"], Enumerable.Repeat("{\"prompt\": \"Once\", \"completion\": \" there was a dog\"}", 8));
        return Config(folder, output, "data.jsonl", "data.jsonl") with
        {
            // The base model was never shown its end token, so the head must learn it too.
            Lora = new LoraSection { ModulesToSave = ["lm_head"] },
            Training = new TrainingSection
            {
                MaxSteps = 60,
                PerDeviceTrainBatchSize = 8,
                GradientAccumulationSteps = 1,
                LearningRate = 1e-2,
                EvalSteps = 1,
                EvalMetrics = metrics,
                EvalMaxNewTokens = 12,
            },
        };
    }

    private static RunConfig Config(TempFolder folder, string output, string train, string evaluation) => new()
    {
        Model = SharedFolder.Path("models", "stories260K", "hf"),
        Dtype = "float32",
        OutputDir = folder[output],
        Data = new DataSection { Train = folder[train], Eval = folder[evaluation], MaxLength = 256, Packing = false },
    };

    private static TrainingResult Run(RunConfig config) => new FineTuner(config).Run(cancellation: TestContext.Current.CancellationToken);

    private sealed class Notes : ITrainingObserver
    {
        public List<string> Lines { get; } = [];

        public void Info(string message) => Lines.Add(message);
    }

    private static class Corpus
    {
        public static void Write(string path, IEnumerable<string> texts) =>
            File.WriteAllLines(path, texts.Select(text => System.Text.Json.JsonSerializer.Serialize(new { text })));
    }
}
