using System.Text.Json.Nodes;
using Nibble.Modeling.Checkpoints;
using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Tests;

public class LossScaleTests
{
    [Fact]
    public void The_scale_halves_at_an_overflow_whose_step_is_skipped_and_doubles_after_two_thousand_good_steps()
    {
        var scale = new LossScale(ScalarType.Float16);
        Assert.Equal(65536, scale.Value);
        Assert.True(scale.Accept(finite: true));
        Assert.False(scale.Accept(finite: false));
        Assert.Equal((32768, 0), (scale.Value, scale.GoodSteps));
        for (int i = 0; i < 1999; i++)
        {
            Assert.True(scale.Accept(finite: true));
        }

        Assert.Equal(32768, scale.Value);
        Assert.True(scale.Accept(finite: true));
        Assert.Equal((65536, 0), (scale.Value, scale.GoodSteps));
    }

    [Fact]
    public void Gradients_that_overflow_at_every_scale_end_the_run_when_the_scale_is_one()
    {
        using var folder = new TempFolder();
        var told = new Told();
        TrainingDivergedException error = Assert.Throws<TrainingDivergedException>(() => new FineTuner(new RunConfig
        {
            Model = WriteModelWhoseGradientsOverflow(folder["model"]),
            Method = Method.Full,
            Dtype = "float16",
            Device = "cpu",
            OutputDir = folder["out"],
            Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 16, Packing = false },
            Training = new TrainingSection { MaxSteps = 20, PerDeviceTrainBatchSize = 1, GradientAccumulationSteps = 1, ReportSamples = 0 },
        }, told).Run(cancellation: TestContext.Current.CancellationToken));

        Assert.Equal(17, error.Step); // 65536 = 2^16.
        Assert.Contains("gradient of model.", error.Message, StringComparison.Ordinal);
        string[] skipped = [.. told.Lines.Where(line => line.Contains("loss scale", StringComparison.Ordinal))];
        Assert.Equal(16, skipped.Length);
        Assert.Equal("Step 1 is skipped, for its float16 gradients overflow; the loss scale is 32768 from now on.", skipped[0]);
    }

    [Theory]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float32)]
    public void Other_dtypes_need_none(ScalarType dtype)
    {
        var scale = new LossScale(dtype);
        Assert.True(scale.Accept(finite: true));
        Assert.Equal((1, 0, true), (scale.Value, scale.GoodSteps, scale.IsLowest));
    }

    [Theory]
    [InlineData(Method.Full, 0)]
    [InlineData(Method.Full, 3)]
    [InlineData(Method.Lora, 0)]
    public void In_float16_a_run_has_the_losses_of_float32(Method method, int stage)
    {
        using var folder = new TempFolder();
        double[] Losses(string dtype) => [.. new FineTuner(new RunConfig
        {
            Model = SharedFolder.Path("models", "stories260K", "hf"),
            Method = method,
            Dtype = dtype,
            Device = "cpu",
            OutputDir = folder[dtype],
            Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 64 },
            Training = new TrainingSection { MaxSteps = 6, PerDeviceTrainBatchSize = 1, GradientAccumulationSteps = 2, LearningRate = 1e-3, ReportSamples = 0, ZeroStage = stage },
        }).Run(cancellation: TestContext.Current.CancellationToken).Losses.Select(item => item.Loss)];
        Assert.All(Losses("float32").Zip(Losses("float16")), pair => Assert.InRange(Math.Abs(pair.First - pair.Second) / pair.First, 0, 5e-3));
    }

    /// <summary>A model in which the first token of each example is a vector of zeros, which the first norm multiplies, and with it the slopes, by 1e15.</summary>
    private static string WriteModelWhoseGradientsOverflow(string folder)
    {
        string source = SharedFolder.Path("models", "stories260K", "hf");
        Directory.CreateDirectory(folder);
        JsonObject config = JsonNode.Parse(File.ReadAllText(Path.Combine(source, "config.json")))!.AsObject();
        config["rms_norm_eps"] = 1e-30;
        File.WriteAllText(Path.Combine(folder, "config.json"), config.ToJsonString());
        using SafetensorsFile weights = SafetensorsFile.Open(Path.Combine(source, "model.safetensors"));
        using DisposeScope scope = NewDisposeScope();
        Dictionary<string, Tensor> changed = weights.Tensors.Keys.ToDictionary(name => name, name => weights.View(name).clone());
        changed["model.embed_tokens.weight"][1].zero_();
        SafetensorsWriter.Write(Path.Combine(folder, "model.safetensors"), changed);
        return folder;
    }

    private sealed class Told : ITrainingObserver
    {
        public List<string> Lines { get; } = [];

        public void Info(string message) => Lines.Add(message);
    }
}
