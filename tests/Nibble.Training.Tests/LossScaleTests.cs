using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Optimization;
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

    [Theory]
    [InlineData(ScalarType.BFloat16)]
    [InlineData(ScalarType.Float32)]
    public void Other_dtypes_need_none(ScalarType dtype)
    {
        var scale = new LossScale(dtype);
        Assert.True(scale.Accept(finite: true));
        Assert.Equal((1, 0, false), (scale.Value, scale.GoodSteps, scale.IsActive));
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
}
