using Nibble.Modeling.Checkpoints;
using Nibble.Tests;
using Nibble.Training.Configuration;
using static TorchSharp.torch;

namespace Nibble.Training.Tests;

public class Bf16WeightTests
{
    [Fact]
    public void Weights_without_masters_learn_as_those_with_masters_do_and_are_stored_in_bfloat16()
    {
        using var folder = new TempFolder();
        var training = new TrainingSection { MaxSteps = 30 };
        double[] masters = Losses(Run(Config(folder["masters"], training)));
        double[] rounded = Losses(Run(Config(folder["rounded"], training with { Bf16StochasticRound = true })));
        Assert.True(masters[^5..].Average() < masters[..5].Average() * 0.9, $"the run learns too little to compare: {string.Join(", ", masters)}");
        Assert.All(masters.Zip(rounded), pair => Assert.Equal(pair.First, pair.Second, 0.01 * pair.First));
        Assert.NotEqual(masters, rounded);

        using var stored = SafetensorsFile.Open(Path.Combine(folder["rounded"], "model.safetensors"));
        Assert.All(stored.Tensors.Keys, name => Assert.Equal(ScalarType.BFloat16, stored.View(name).dtype));
    }

    [Fact]
    public void The_seed_decides_how_weights_are_rounded()
    {
        using var folder = new TempFolder();
        RunConfig config = Config(folder["first"], new TrainingSection { Bf16StochasticRound = true, MaxSteps = 3 });
        config = config with { Data = config.Data with { Shuffle = false } };
        double[] first = Losses(Run(config));
        Assert.Equal(first, Losses(Run(config with { OutputDir = folder["again"] })));
        double[] other = Losses(Run(config with { OutputDir = folder["other"], Seed = 43 }));
        Assert.Equal(first[..2], other[..2]); // The first step of a warm-up updates nothing.
        Assert.NotEqual(first[2], other[2]);
    }

    [Theory]
    [InlineData(OptimizerType.AdamwTorch, 0)]
    [InlineData(OptimizerType.Adamw8bit, 3)]
    public void A_resumed_run_rounds_as_an_undisturbed_one_to_the_bit_and_so_do_shares(OptimizerType optimizer, int stage)
    {
        using var folder = new TempFolder();
        RunConfig Config(string name, int zeroStage, int steps) => Bf16WeightTests.Config(folder[name], new TrainingSection
        {
            Bf16StochasticRound = true,
            Optim = optimizer,
            ZeroStage = zeroStage,
            ParamPersistenceThreshold = 1000,
            MaxSteps = steps,
            LrSchedulerType = SchedulerType.Constant,
        });
        TrainingResult whole = Run(Config("whole", 0, 6));
        Run(Config("half", stage, 3));
        TrainingResult rest = new FineTuner(Config("half", stage, 6)).Run(resume: true, TestContext.Current.CancellationToken);
        Assert.Equal(whole.Losses.Skip(3), rest.Losses);
        Assert.Equal(Weights(folder["whole"]), Weights(folder["half"]));
    }

    internal static string Weights(string folder) => Convert.ToHexString(File.ReadAllBytes(Path.Combine(folder, "model.safetensors")));

    internal static RunConfig Config(string output, TrainingSection training) => new()
    {
        Model = SharedFolder.Path("models", "stories260K", "hf"),
        Method = Method.Full,
        Device = "cpu",
        OutputDir = output,
        Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 64 },
        Training = training with
        {
            MaxSteps = training.MaxSteps > 0 ? training.MaxSteps : 20,
            PerDeviceTrainBatchSize = 4,
            GradientAccumulationSteps = 1,
            MaxGradNorm = 0,
            WarmupSteps = 1,
            LearningRate = 2e-3,
            ReportSamples = 0,
        },
    };

    internal static TrainingResult Run(RunConfig config) => new FineTuner(config).Run(cancellation: TestContext.Current.CancellationToken);

    private static double[] Losses(TrainingResult result) => [.. result.Losses.Select(item => item.Loss)];
}
