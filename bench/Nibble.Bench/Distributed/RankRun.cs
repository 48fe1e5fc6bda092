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
/// <param name="BytesPerSecond">At which rings send large messages, measured just after.</param>
/// <param name="JoinedBytes">What joining the others took of resident memory, before anything was sent.</param>
internal sealed record RankResult(double PeakBytes, double Seconds, double SentBytes, double BytesPerSecond, double JoinedBytes);

/// <summary>One process of a measured run; rank 0 prints a <see cref="RankResult"/>.</summary>
internal static class RankRun
{
    public const int BatchPerProcess = 2;
    public const int Length = 128;

    /// <param name="folder">Of the model, with its examples in train.jsonl.</param>
    /// <param name="stage">ZeRO's.</param>
    /// <param name="steps">Steps of the run; the first warms up.</param>
    public static void Run(string folder, int stage, int steps)
    {
        PeakMemory.Reset();
        long alone = PeakMemory.Bytes;
        ICommunicator world = Processes.Join("cpu", TimeSpan.FromMinutes(1));
        long joined = PeakMemory.Bytes - alone;
        var watch = new Watch(world);
        PeakMemory.Reset();
        new FineTuner(Config(folder, stage, world.Size, steps), watch) { World = world, Began = watch.Begin }.Run();
        double peak = world.Gather(PeakMemory.Bytes).Max(rank => rank[0]);
        double bandwidth = world.Size > 1 ? Bandwidth(world) : 0; // Last, for MPI keeps what it took for it.
        if (world.Rank == 0)
        {
            Console.WriteLine(JsonSerializer.Serialize(new RankResult(peak, watch.MedianStep, watch.SentBytes, bandwidth, joined)));
        }

        Processes.Leave();
    }

    /// <summary>The run.</summary>
    public static RunConfig Config(string folder, int stage, int processes, int steps) => new()
    {
        Model = folder,
        Method = Method.Full,
        Device = "cpu",
        OutputDir = Path.Combine(folder, $"out-{stage}-{processes}"),
        Data = new DataSection { Train = Path.Combine(folder, "train.jsonl"), MaxLength = Length, Packing = false },
        Training = new TrainingSection
        {
            MaxSteps = steps,
            PerDeviceTrainBatchSize = BatchPerProcess,
            GradientAccumulationSteps = 1,
            ZeroStage = stage,
            SaveSteps = steps + 1,
            ReportSamples = 0,
        },
    };

    /// <summary>A model of so many layers, with examples for so many processes and steps.</summary>
    public static DecoderConfig WriteModel(string folder, int layers, int processes, int steps) => StepBenchmark.WriteModel(
        folder, StepBenchmark.Llama(hidden: 512, intermediate: 1536, layers, heads: 8, keyValueHeads: 8, vocab: 8192), records: processes * BatchPerProcess * steps, Length);

    /// <summary>Bytes a second that each process sends in sums of 16 MiB.</summary>
    private static double Bandwidth(ICommunicator world)
    {
        using Tensor values = zeros(4 << 20);
        const int Rounds = 5;
        for (int i = 0; i < Rounds; i++)
        {
            world.AllReduce(values).Wait(); // Memory is found for the first ones.
        }

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
