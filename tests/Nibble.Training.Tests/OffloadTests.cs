using Nibble.Tests;
using Nibble.Training.Configuration;

namespace Nibble.Training.Tests;

public class OffloadTests
{
    [Theory]
    [InlineData(OptimizerType.AdamwTorch, Method.Full)]
    [InlineData(OptimizerType.Adamw8bit, Method.Lora)]
    public void States_on_the_disk_change_no_loss_to_the_bit_also_when_a_run_is_resumed_and_leave_no_file(OptimizerType optimizer, Method method)
    {
        using var folder = new TempFolder();
        TrainingResult inMemory = Run(Config(folder["memory"], optimizer, method, OffloadDevice.None));
        Assert.Equal(inMemory.Losses, Run(Config(folder["disk"], optimizer, method, OffloadDevice.Disk)).Losses);
        Assert.Empty(Directory.EnumerateFiles(folder["disk"], "*.tmp"));

        using var interruption = new CancellationTokenSource();
        RunConfig halves = Config(folder["halves"], optimizer, method, OffloadDevice.Disk);
        Assert.Throws<OperationCanceledException>(() => { new FineTuner(halves, new StopAt(3, interruption)).Run(cancellation: interruption.Token); });
        Assert.Equal(inMemory.Losses.Skip(3), new FineTuner(halves).Run(resume: true, TestContext.Current.CancellationToken).Losses);
    }

    [Fact]
    public void Of_states_on_the_disk_the_estimate_counts_those_of_the_largest_parameter()
    {
        using var folder = new TempFolder();
        RunConfig config = Config(folder["out"], OptimizerType.AdamwTorch, Method.Full, OffloadDevice.Disk);
        var model = Modeling.Configuration.ConfigReader.Read(config.Model);
        Assert.Equal(8L * model.VocabSize * model.HiddenSize, MemoryEstimate.Of(config, model, gpu: false).OptimizerStates);
    }

    private static TrainingResult Run(RunConfig config) => new FineTuner(config).Run(cancellation: TestContext.Current.CancellationToken);

    private static RunConfig Config(string output, OptimizerType optimizer, Method method, OffloadDevice offload) => new()
    {
        Model = SharedFolder.Path("models", "stories260K", "hf"),
        Method = method,
        Device = "cpu",
        OutputDir = output,
        Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 64 },
        Training = new TrainingSection { MaxSteps = 6, PerDeviceTrainBatchSize = 1, GradientAccumulationSteps = 1, Optim = optimizer, OffloadOptimizer = offload },
    };

    private sealed class StopAt(int step, CancellationTokenSource source) : ITrainingObserver
    {
        public void Progress(int done, int totalSteps, double loss)
        {
            if (done == step)
            {
                source.Cancel();
            }
        }
    }
}
