using System.Globalization;
using Nibble.Kernels;
using Nibble.Kernels.Communication;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Distributed;
using Nibble.Training.Reporting;
using static TorchSharp.torch;

namespace Nibble.Training.Tests;

/// <summary>Alone in the process while it runs, for other tests would come and go in the figures.</summary>
[CollectionDefinition(nameof(MemoryTests), DisableParallelization = true)]
[Collection(nameof(MemoryTests))]
public sealed class MemoryTests : IDisposable
{
    private readonly int threads = Cpu.Threads;

    /// <summary>One thread: the tiny model gains nothing from more, and each would keep memory of its own.</summary>
    public MemoryTests() => Cpu.Threads = 1;

    public void Dispose() => Cpu.Threads = threads;

    [Fact]
    public void A_thousand_steps_and_a_hundred_generations_leave_resident_memory_as_it_was()
    {
        using var folder = new TempFolder();
        string model = SharedFolder.Path("models", "stories260K", "hf");
        var training = new Resident(warmUp: 500, counted: 1000);
        var config = new RunConfig
        {
            Model = model,
            Method = Method.Qlora,
            OutputDir = folder["out"],
            Data = new DataSection { Train = SharedFolder.Path("data", "alpaca", "gsm8k_test_alpaca.json"), MaxLength = 128 },
            Training = new TrainingSection
            {
                MaxSteps = training.Rounds,
                PerDeviceTrainBatchSize = 1,
                GradientAccumulationSteps = 1,
                Optim = OptimizerType.Adamw8bit,
            },
        };
        new FineTuner(config, training).Run(cancellation: TestContext.Current.CancellationToken);
        training.AssertUnchanged();

        using DecoderModel loaded = ModelLoader.Load(model);
        using LoraAdapter adapter = AdapterFolder.Load(loaded, folder["out"]);
        var generation = new Resident(warmUp: 50, counted: 100);
        for (int i = 1; i <= generation.Rounds; i++)
        {
            TextGenerator.Generate(loaded, [[1, 403, i], [1, 2 + i]], new GenerationOptions { MaxNewTokens = 30, Temperature = 1, Seed = (ulong)i });
            generation.Progress(i, generation.Rounds, 0);
        }

        generation.AssertUnchanged();
    }

    [Fact]
    public void Loading_and_quantising_a_model_takes_hardly_more_memory_than_its_quantised_weights()
    {
        using var folder = new TempFolder();
        Write(folder.Path);
        long before = ResetPeak();
        using DecoderModel model = ModelLoader.Load(folder.Path, new LoadOptions { QuantizeNf4 = true });
        double times = (PeakMemory.Bytes - before) / (double)model.WeightBytes;
        Assert.True(times < 2, $"loading took {times:0.00} times the quantised weights; the file has {new FileInfo(Path.Combine(folder.Path, "model.safetensors")).Length / (double)model.WeightBytes:0.00} times");
    }

    [Fact]
    public void A_process_that_takes_its_shares_of_a_model_keeps_nothing_of_the_file_in_memory()
    {
        using var folder = new TempFolder();
        Write(folder.Path);
        using DecoderModel model = ModelLoader.Load(folder.Path, new LoadOptions { DType = ScalarType.BFloat16, Deferred = _ => true, DeferredVocabulary = ScalarType.BFloat16 });
        model.UnfreezeAll([], ScalarType.BFloat16, ScalarType.BFloat16);
        Parameter[] parameters = [.. model.Parameters];
        var layout = new FlatLayout(
            [.. parameters.Select(parameter => new FlatParameter(parameter.Value.NumberOfElements, model.UnitOf(parameter.Name), parameter.Value.dtype, Stays: false))], ranks: 1, bucketElements: 1);
        var run = new RunConfig { Model = folder.Path, Method = Method.Full, Data = new DataSection { Train = "" }, Training = new TrainingSection { ZeroStage = 3, Bf16StochasticRound = true } };
        long before = ResetPeak();
        using var units = new ParameterUnits(run, model, parameters, layout, new SingleProcess());
        double times = (PeakMemory.Bytes - before) / (double)units.Parts.Sum(part => part.Value.NumberOfElements * part.Value.ElementSize);
        Assert.True(times < 1.5, $"loading took {times:0.00} times the shares");
    }

    /// <summary>A model of 203 MB in bfloat16.</summary>
    private static void Write(string folder)
    {
        File.WriteAllText(Path.Combine(folder, "config.json"), """
            {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 512, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 6,
             "num_attention_heads": 16, "num_key_value_heads": 16, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
             "tie_word_embeddings": false, "torch_dtype": "bfloat16"}
            """);
        RandomWeights.Write(folder, seed: 1, ScalarType.BFloat16);
    }

    /// <summary>What is in memory now, above which the peak rises.</summary>
    private static long ResetPeak()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        PeakMemory.Reset();
        return PeakMemory.Bytes;
    }

    /// <summary>Resident memory before and after the rounds that count, each the least of several samples in a tenth of them.</summary>
    /// <param name="warmUp">Rounds until the allocator and the runtime have met every size of batch.</param>
    /// <param name="counted">Rounds in which nothing may grow.</param>
    private sealed class Resident(int warmUp, int counted) : ITrainingObserver
    {
        private long before = long.MaxValue;
        private long after = long.MaxValue;

        public int Rounds => warmUp + counted;

        public void Progress(int done, int totalSteps, double loss)
        {
            if (IsBefore(done, warmUp))
            {
                before = Math.Min(before, Bytes());
            }
            else if (IsBefore(done, Rounds))
            {
                after = Math.Min(after, Bytes());
            }
        }

        public void AssertUnchanged() => Assert.True(after < 1.01 * before, $"{before >> 10} kB became {after >> 10} kB");

        private bool IsBefore(int done, int end) => done <= end && done > end - (counted / 10) && done % (counted / 50) == 0;

        /// <summary>Pages in memory (second figure of statm), after the collector gave back what it could.</summary>
        private static long Bytes()
        {
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            return long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1], CultureInfo.InvariantCulture) * Environment.SystemPageSize;
        }
    }
}
