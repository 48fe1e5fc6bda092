using Nibble.Kernels.Cuda;
using Nibble.Tests;
using Nibble.Training.Configuration;

namespace Nibble.Training.Tests;

/// <summary>Whole runs whose every operator goes through the CUDA path, on an emulated GPU.</summary>
public class EmulatedRunTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void A_QLoRA_run_through_the_CUDA_path_has_the_losses_of_the_CPU(int gpu)
    {
        using var folder = new TempFolder();
        CudaDevice device = EmulatedCuda.Open(gpu, out DriverWitness witness);
        IEnumerable<double> expected = Run("cpu");
        using (new EmulatedGpu(device))
        {
            Assert.All(expected.Zip(Run("gpu")), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
        }

        Assert.True(witness.Calls(nameof(ICudaDriver.LaunchKernel)) > 100);

        IEnumerable<double> Run(string output)
        {
            var config = new RunConfig
            {
                Model = SharedFolder.Path("models", "stories260K", "hf"),
                Method = Method.Qlora,
                Dtype = "float32",
                OutputDir = folder[output],
                Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 64 },
                Quantization = new QuantizationSection { Bnb4bitComputeDtype = "float32" },
                Lora = new LoraSection { R = 4, LoraDropout = 0.1, TargetModules = ["all-linear"] },
                Training = new TrainingSection
                {
                    MaxSteps = 3,
                    PerDeviceTrainBatchSize = 1,
                    GradientAccumulationSteps = 1,
                    LearningRate = 1e-2,
                    Optim = OptimizerType.Adamw8bit,
                },
            };
            return new FineTuner(config).Run(cancellation: TestContext.Current.CancellationToken).Losses.Select(item => item.Loss);
        }
    }
}
