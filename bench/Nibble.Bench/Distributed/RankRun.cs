using System.Diagnostics;
using System.Text.Json;
using Nibble.Kernels.Communication;
using Nibble.Modeling.Configuration;
using Nibble.Training;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;
using static TorchSharp.torch;

namespace Nibble.Bench.Distributed;

/// <summary>What one run of several processes measured.</summary>
/// <param name="PeakBytes">Largest resident memory of a process, of all of them the largest.</param>
/// <param name="Seconds">Of a step.</param>
/// <param name="SentBytes">What each process sends along rings in a step.</param>
/// <param name="BytesPerSecond">At which rings send large messages, measured just before.</param>
internal sealed record RankResult(double PeakBytes, double Seconds, double SentBytes, double BytesPerSecond);

/// <summary>One process of a measured run; rank 0 prints a <see cref="RankResult"/>.</summary>
internal static class RankRun
{
    public const int BatchPerProcess = 2;
    public const int Length = 128;
    private const int Steps = 6;

    /// <param name="folder">Of the model, with its examples in train.jsonl.</param>
    /// <param name="stage">ZeRO's.</param>
    public static void Run(string folder, int stage)
    {
        ICommunicator world = Processes.Join("cpu", TimeSpan.FromMinutes(1));
        double bandwidth = world.Size > 1 ? Bandwidth(world) : double.PositiveInfinity;
        var watch = new Watch(world);
        PeakMemory.Reset();
        new FineTuner(Config(folder, stage, world.Size), watch) { World = world, Began = watch.Begin }.Run();
        double peak = world.Gather(PeakMemory.Bytes).Max(rank => rank[0]);
        if (world.Rank == 0)
        {
            Console.WriteLine(JsonSerializer.Serialize(new RankResult(
                peak, watch.MedianStep, watch.SentBytes, double.IsFinite(bandwidth) ? bandwidth : 0)));
        }

        Processes.Leave();
    }

    /// <summary>The run.</summary>
    public static RunConfig Config(string folder, int stage, int processes) => new()
    {
        Model = folder,
        Method = Method.Full,
        Device = "cpu",
        OutputDir = Path.Combine(folder, $"out-{stage}-{processes}"),
        Data = new DataSection { Train = Path.Combine(folder, "train.jsonl"), MaxLength = Length, Packing = false },
        Training = new TrainingSection
        {
            MaxSteps = Steps,
            PerDeviceTrainBatchSize = BatchPerProcess,
            GradientAccumulationSteps = 1,
            ZeroStage = stage,
            ReportSamples = 0,
        },
    };

    public static DecoderConfig WriteModel(string folder, int processes) => StepBenchmark.WriteModel(
        folder, StepBenchmark.Llama(hidden: 512, intermediate: 1536, layers: 8, heads: 8, keyValueHeads: 8, vocab: 8192), records: processes * BatchPerProcess * Steps, Length);

    /// <summary>Bytes a second that each process sends in sums of 16 MiB.</summary>
    private static double Bandwidth(ICommunicator world)
    {
        using Tensor values = zeros(4 << 20);
        world.AllReduce(values).Wait();
        const int Rounds = 5;
        CommunicationVolume before = world.Volume;
        var clock = Stopwatch.StartNew();
        for (int i = 0; i < Rounds; i++)
        {
            world.AllReduce(values).Wait();
        }

        return (world.Volume - before).SentAlongRing(world.Size) / clock.Elapsed.TotalSeconds;
    }

    /// <summary>Times of steps and what they send, the first left out.</summary>
    private sealed class Watch(ICommunicator world) : ITrainingObserver
    {
        private readonly List<double> seconds = [];
        private readonly Stopwatch clock = new();
        private CommunicationVolume first;
        private CommunicationVolume last;

        public double MedianStep => seconds.Order().ElementAt(seconds.Count / 2);

        public double SentBytes => (last - first).SentAlongRing(world.Size) / seconds.Count;

        public void Begin() => clock.Restart();

        public void Progress(int done, int totalSteps, double loss)
        {
            if (done == 1)
            {
                first = world.Volume;
            }
            else
            {
                last = world.Volume;
                seconds.Add(clock.Elapsed.TotalSeconds);
            }

            clock.Restart();
        }
    }
}
