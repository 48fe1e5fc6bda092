using Nibble.Kernels.Communication;
using Nibble.Modeling.Configuration;
using Nibble.Tests;
using Nibble.Training.Configuration;
using static TorchSharp.torch;

namespace Nibble.Training.Tests;

/// <summary>ZeRO 3 in one process, which has all shares; tests/Nibble.Cli.Tests has several.</summary>
public class ZeroTests
{
    [Theory]
    [InlineData("float32", OptimizerType.AdamwTorch, OffloadDevice.None)]
    [InlineData("float32", OptimizerType.AdamwTorch, OffloadDevice.Cpu)]
    [InlineData("bfloat16", OptimizerType.Adamw8bit, OffloadDevice.Disk)]
    public void Parameters_that_come_and_go_change_no_bit_also_when_a_run_is_resumed(string dtype, OptimizerType optimizer, OffloadDevice offload)
    {
        using var folder = new TempFolder();
        RunConfig Config(string name, int stage) => Small(folder[name], dtype, new TrainingSection
        {
            Optim = optimizer,
            ZeroStage = stage,
            OffloadParameters = stage == 3 ? offload : OffloadDevice.None,
            ParamPersistenceThreshold = 0,
            GradientAccumulationSteps = 2,
        });
        TrainingResult plain = Run(Config("plain", 0));
        Assert.Equal(plain.Losses, Run(Config("shared out", 3)).Losses);
        string[] weights = [.. new[] { "plain", "shared out" }.Select(name => Convert.ToHexString(File.ReadAllBytes(Path.Combine(folder[name], "model.safetensors"))))];
        Assert.Equal(weights[0], weights[1]);
        Assert.Empty(Directory.EnumerateFiles(folder["shared out"], "*.tmp"));

        RunConfig half = Config("half", 3);
        RunConfig Until(RunConfig config, int steps) => config with { Training = config.Training with { MaxSteps = steps, LrSchedulerType = SchedulerType.Constant } };
        TrainingResult whole = Run(Until(Config("whole", 0), 4));
        Run(Until(half, 2));
        Assert.Equal(whole.Losses.Skip(2), new FineTuner(Until(half, 4)).Run(resume: true, TestContext.Current.CancellationToken).Losses);
    }

    [Fact]
    public void Without_overlap_nothing_is_under_way_while_the_next_begins()
    {
        Assert.Equal(1, TrafficOf(training => training with { OverlapComm = false }).MostAtOnce);
        Assert.InRange(TrafficOf(training => training).MostAtOnce, 2, 4);
    }

    [Fact]
    public void Units_larger_than_the_prefetch_bucket_are_gathered_when_they_are_needed()
    {
        // Else the next unit's weights are on their way when a unit's gradients go.
        Assert.Equal(0, TrafficOf(training => training with { PrefetchBucketSize = 1000 }).SumsBesideOthers);
        Assert.True(TrafficOf(training => training).SumsBesideOthers > 0);
    }

    [Fact]
    public void Buckets_end_at_their_size_and_small_parameters_stay()
    {
        Assert.True(TrafficOf(training => training with { ReduceBucketSize = 1 }).Sums > TrafficOf(training => training).Sums);
        Assert.True(TrafficOf(training => training with { ParamPersistenceThreshold = 10_000_000 }).Gathers < TrafficOf(training => training).Gathers / 2);
    }

    [Theory]
    [InlineData("shards.json", null)]
    [InlineData("shard-00001-of-00001.safetensors", null)]
    [InlineData("shard-00001-of-00001.safetensors", 5000)]
    public void A_checkpoint_that_lacks_a_part_is_not_taken_for_a_whole_one(string file, int? length)
    {
        using var folder = new TempFolder();
        RunConfig config = Small(folder["out"], "float32", new TrainingSection { ZeroStage = 3, SaveSteps = 2, MaxSteps = 2 });
        Run(config);
        string path = Path.Combine(folder["out"], "checkpoint-2", file);
        byte[] bytes = File.ReadAllBytes(path);
        File.Delete(path);
        if (length is { } left)
        {
            File.WriteAllBytes(path, bytes[..left]);
        }

        Exception error = Assert.Throws<InvalidDataException>(() => { new FineTuner(config).Run(resume: true, TestContext.Current.CancellationToken); });
        Assert.Contains("checkpoint-2 is damaged; delete it", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(1, 8, 4.0)]
    [InlineData(1, 1, 1.0)]
    [InlineData(2, 8, 1.0)]
    public void The_estimate_of_one_of_four_processes_follows_the_formulas_of_ZeRO(int stage, int accumulation, double gradients)
    {
        RunConfig config = Small("out", "bfloat16", new TrainingSection { ZeroStage = stage, GradientAccumulationSteps = accumulation });
        DecoderConfig model = ConfigReader.Read(config.Model);
        MemoryEstimate share = MemoryEstimate.Of(config, model, gpu: false, processes: 4);
        double count = MemoryEstimate.Of(config, model, gpu: false).TrainedParameters / 4.0;
        Assert.Equal(gradients, share.Gradients / count, 1e-2);
        Assert.Equal(8 / 4.0, share.OptimizerStates / count, 1e-2);
        long inFloat32 = model.HiddenSize * (model.VocabSize + (2 * model.NumHiddenLayers) + 1); // The embedding and norms, whose masters they are.
        Assert.Equal((2 + (4 / 4.0)) * (count - inFloat32) + (4.0 * inFloat32), share.TrainedParameters, 1.0);
    }

    [Fact]
    public void With_ZeRO_3_the_estimate_has_a_share_and_two_units()
    {
        RunConfig config = Small("out", "bfloat16", new TrainingSection { ZeroStage = 3 });
        DecoderConfig model = ConfigReader.Read(config.Model);
        MemoryEstimate plain = MemoryEstimate.Of(config with { Training = new TrainingSection() }, model, gpu: false);
        MemoryEstimate share = MemoryEstimate.Of(config, model, gpu: false, processes: 4);
        Assert.InRange(share.TrainedParameters - (plain.TrainedParameters / 4), 1, plain.TrainedParameters / 2);
        Assert.Equal(plain.Gradients / 4, share.Gradients);
        Assert.Equal(plain.OptimizerStates / 4, share.OptimizerStates);

        MemoryEstimate offloaded = MemoryEstimate.Of(config with { Training = config.Training with { OffloadParameters = OffloadDevice.Cpu } }, model, gpu: true, processes: 4);
        Assert.Equal(0, offloaded.OptimizerStates);
        Assert.True(offloaded.TrainedParameters < share.TrainedParameters);
    }

    private static TrainingResult Run(RunConfig config) => new FineTuner(config).Run(cancellation: TestContext.Current.CancellationToken);

    private static RunConfig Small(string output, string dtype, TrainingSection training) => new()
    {
        Model = SharedFolder.Path("models", "stories260K", "hf"),
        Method = Method.Full,
        Dtype = dtype,
        Device = "cpu",
        OutputDir = output,
        Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 64, EvalRatio = 0.1 },
        Training = training with { MaxSteps = training.MaxSteps > 0 ? training.MaxSteps : 3, PerDeviceTrainBatchSize = 1, ReportSamples = 0 },
    };

    /// <summary>What a run of one step sends, if all but norms come and go.</summary>
    private static Traffic TrafficOf(Func<TrainingSection, TrainingSection> change)
    {
        using var folder = new TempFolder();
        var traffic = new Traffic();
        RunConfig config = Small(folder["out"], "float32", change(new TrainingSection { ZeroStage = 3, MaxSteps = 1, GradientAccumulationSteps = 1, ParamPersistenceThreshold = 1000 }));
        new FineTuner(config) { World = traffic }.Run(cancellation: TestContext.Current.CancellationToken);
        return traffic;
    }

    /// <summary>Counts the operations of a process that is alone.</summary>
    private sealed class Traffic : ICommunicator
    {
        private readonly SingleProcess alone = new();
        private int underWay;

        public int Rank => 0;

        public int Size => 1;

        public int Gathers { get; private set; }

        public int Sums { get; private set; }

        /// <summary>Sums that began while anything else was under way.</summary>
        public int SumsBesideOthers { get; private set; }

        public int MostAtOnce { get; private set; }

        public void LimitWaits(TimeSpan limit) => alone.LimitWaits(limit);

        public ICollective AllReduce(Tensor values) => Started(alone.AllReduce(values));

        public ICollective ReduceScatter(Tensor values, IReadOnlyList<long> counts, Tensor share)
        {
            Sums++;
            SumsBesideOthers += underWay > 0 ? 1 : 0;
            return Started(alone.ReduceScatter(values, counts, share));
        }

        public ICollective AllGather(Tensor share, IReadOnlyList<long> counts, Tensor all)
        {
            Gathers += share.dtype == ScalarType.Float32 ? 1 : 0; // Small values of the loop are float64.
            return Started(alone.AllGather(share, counts, all));
        }

        public ICollective Broadcast(Tensor values) => Started(alone.Broadcast(values));

        public ICollective Barrier() => Started(alone.Barrier());

        private Pending Started(ICollective operation)
        {
            MostAtOnce = Math.Max(MostAtOnce, ++underWay);
            return new Pending(this, operation);
        }

        private sealed class Pending(Traffic traffic, ICollective operation) : ICollective
        {
            public void Wait()
            {
                operation.Wait();
                traffic.underWay--;
            }
        }
    }
}
