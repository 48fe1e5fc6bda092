using Nibble.Kernels.Cuda;
using Nibble.Modeling.Configuration;
using Nibble.Tests;
using Nibble.Training.Configuration;

namespace Nibble.Training.Tests;

/// <summary>Whole runs whose every operator goes through the CUDA path, on an emulated GPU.</summary>
public class EmulatedRunTests
{
    [Theory]
    [InlineData(0, OptimizerType.Adamw8bit)]
    [InlineData(1, OptimizerType.PagedAdamw8bit)]
    [InlineData(2, OptimizerType.PagedAdamw32bit)]
    public void A_QLoRA_run_through_the_CUDA_path_has_the_losses_of_the_CPU(int gpu, OptimizerType optimizer)
    {
        using var folder = new TempFolder();
        CudaDevice device = EmulatedCuda.Open(gpu, out DriverWitness witness);
        IReadOnlyList<double> expected = Run(Config(folder["cpu"], optimizer));
        using (new EmulatedGpu(device))
        {
            Assert.All(expected.Zip(Run(Config(folder["gpu"], optimizer))), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
        }

        Assert.True(witness.Calls(nameof(ICudaDriver.LaunchKernel)) > 100);
    }

    [Fact]
    public void A_paged_run_that_lacks_memory_in_a_step_takes_it_from_the_pages_and_ends_like_any_other()
    {
        using var folder = new TempFolder();
        CudaDevice device = EmulatedCuda.Open(0, out DriverWitness witness);
        using var emulation = new EmulatedGpu(device);
        IReadOnlyList<double> expected = Run(Config(folder["unpaged"], OptimizerType.Adamw8bit));
        bool refuse = false;
        witness.RefuseWhen = (function, _) =>
        {
            bool refused = refuse && function == nameof(ICudaDriver.MemAlloc);
            refuse &= !refused;
            return refused ? CudaStatus.OutOfMemory : CudaStatus.Success;
        };
        Assert.Equal(expected, Run(Config(folder["paged"], OptimizerType.PagedAdamw8bit), new AfterStep(2, () => refuse = true)));
        Assert.False(refuse, "no allocation was refused");

        // With nothing to take back, the error reaches the user.
        RunConfig unpaged = Config(folder["fails"], OptimizerType.Adamw8bit);
        Assert.IsType<CudaException>(Assert.Throws<InsufficientMemoryException>(() => { Run(unpaged, new AfterStep(2, () => refuse = true)); }).InnerException);
    }

    [Fact]
    public void A_run_without_memory_says_what_takes_it_and_which_other_run_would_fit()
    {
        using var folder = new TempFolder();
        RunConfig config = Config(folder["out"], OptimizerType.Adamw8bit);
        config = config with { Data = config.Data with { MaxLength = 512 }, Training = config.Training with { PerDeviceTrainBatchSize = 128 } };
        string message = FailureOf(config, memory: 1L << 30);
        Assert.StartsWith("memory ran out: ", message, StringComparison.Ordinal);
        Assert.Contains("CUDA_ERROR_OUT_OF_MEMORY", message, StringComparison.Ordinal);
        Assert.Contains("(inside of one layer ", message, StringComparison.Ordinal);
        Assert.Contains("the GPU has 1.0 GiB. With --set training.per_device_train_batch_size=64 --set training.gradient_accumulation_steps=2 it needs about ", message, StringComparison.Ordinal);
        Assert.Contains("another output_dir", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void A_run_that_would_fit_with_its_optimizer_paged_is_told_to_resume_so()
    {
        using var folder = new TempFolder();
        RunConfig config = Config(folder["out"], OptimizerType.AdamwTorch) with { Lora = new LoraSection { R = 1024, TargetModules = ["all-linear"] } };
        long needed = MemoryEstimate.Of(config, ConfigReader.Read(config.Model), gpu: true).Total;
        string message = FailureOf(config, needed - (4 << 20));
        Assert.Contains("With --set training.optim=paged_adamw_32bit it needs about ", message, StringComparison.Ordinal);
        Assert.EndsWith("the run can go on so with --resume.", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_paged_run_resumes_from_the_checkpoint_of_an_unpaged_one()
    {
        using var folder = new TempFolder();
        CudaDevice device = EmulatedCuda.Open(1, out _);
        using var emulation = new EmulatedGpu(device);
        IReadOnlyList<double> whole = Run(Config(folder["whole"], OptimizerType.Adamw8bit));
        RunConfig halves = Config(folder["halves"], OptimizerType.Adamw8bit);
        using var interruption = new CancellationTokenSource();
        var stop = new AfterStep(2, interruption.Cancel);
        Assert.Throws<OperationCanceledException>(() => { new FineTuner(halves, stop).Run(cancellation: interruption.Token); });
        RunConfig paged = halves with { Training = halves.Training with { Optim = OptimizerType.PagedAdamw8bit } };
        TrainingResult rest = new FineTuner(paged).Run(resume: true, TestContext.Current.CancellationToken);
        Assert.Equal(whole.Skip(2), rest.Losses.Select(item => item.Loss));
    }

    /// <summary>What a run says that is refused all memory on a GPU that has so much.</summary>
    private static string FailureOf(RunConfig config, long memory)
    {
        CudaDevice device = EmulatedCuda.Open(0, out DriverWitness witness);
        witness.Refusals[nameof(ICudaDriver.MemAlloc)] = CudaStatus.OutOfMemory;
        using var emulation = new EmulatedGpu(device);
        using IDisposable size = EmulatedCuda.WithMemory(memory);
        return Assert.Throws<InsufficientMemoryException>(() => { Run(config); }).Message;
    }

    private static IReadOnlyList<double> Run(RunConfig config, ITrainingObserver? observer = null) =>
        [.. new FineTuner(config, observer).Run(cancellation: TestContext.Current.CancellationToken).Losses.Select(item => item.Loss)];

    private static RunConfig Config(string output, OptimizerType optimizer) => new()
    {
        Model = SharedFolder.Path("models", "stories260K", "hf"),
        Method = Method.Qlora,
        Dtype = "float32",
        OutputDir = output,
        Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 32 },
        Quantization = new QuantizationSection { Bnb4bitComputeDtype = "float32" },
        Lora = new LoraSection { R = 4, LoraDropout = 0.1, TargetModules = ["all-linear"] },
        Training = new TrainingSection
        {
            MaxSteps = 4,
            PerDeviceTrainBatchSize = 1,
            GradientAccumulationSteps = 1,
            LearningRate = 1e-2,
            Optim = optimizer,
        },
    };

    private sealed class AfterStep(int step, Action action) : ITrainingObserver
    {
        public void Progress(int done, int totalSteps, double loss)
        {
            if (done == step)
            {
                action();
            }
        }
    }
}
