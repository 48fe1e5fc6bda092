using Nibble.Training.Configuration;

namespace Nibble.Training.Distributed;

/// <summary>
/// What one of several processes holds of what learns (arXiv:1910.02054, section 5; masters, gradients and states are float32 here). Of P
/// parameters in b bytes between N processes: 8P without ZeRO besides 8P of states; with stage 1 and one micro-batch a step, and with stage 2,
/// bP + 4P/N + 4P/N; with stage 3 8P/N and two units.
/// </summary>
/// <param name="Parameters">Bytes of parameters, masters included.</param>
/// <param name="Gradients">Bytes of gradients that outlast a pass, or all of them where none is sent before.</param>
/// <param name="Owned">Elements whose states this process keeps.</param>
/// <param name="Messages">Bytes of buckets under way between processes.</param>
internal sealed record SharedOutMemory(long Parameters, long Gradients, long Owned, long Messages)
{
    private const long Master = sizeof(float);

    /// <summary>Adds up a run.</summary>
    /// <param name="config">The run.</param>
    /// <param name="processes">How many.</param>
    /// <param name="units">Of each unit of the model: elements in the layers' dtype of computation, and elements in float32.</param>
    /// <param name="bytes">Of an element in that dtype.</param>
    /// <param name="largest">Elements of the largest tensor.</param>
    public static SharedOutMemory Of(RunConfig config, int processes, IReadOnlyList<(long Layers, long Others)> units, long bytes, long largest)
    {
        TrainingSection settings = config.Training;
        int stage = ParallelOptimizer.StageOf(config, processes);
        long all = units.Sum(unit => unit.Layers + unit.Others);
        long owned = stage > 0 ? (all + processes - 1) / processes : all;
        long bucket = Math.Max(largest, Math.Min(all, settings.ReduceBucketSize));
        long messages = processes > 1 ? Master * bucket * (settings.OverlapComm ? 2 : 1) : 0;
        if (stage == 0)
        {
            return new SharedOutMemory(Master * all, Master * all, all, messages);
        }

        long layers = units.Sum(unit => unit.Layers);
        long apart = Master * (bytes == Master ? 0 : layers) / processes; // Masters of what computes in another dtype.
        long parameters = (bytes * layers) + (Master * (all - layers)) + apart;
        if (stage == 3)
        {
            long[] inUse = [.. units.Select(unit => (bytes * unit.Layers) + (Master * unit.Others)).OrderDescending().Take(2)];
            parameters = inUse.Sum() + (settings.OffloadParameters == OffloadDevice.Disk ? Master * largest / processes : Master * owned);
        }

        bool keepsAll = stage == 1 && settings.GradientAccumulationSteps > 1;
        return new SharedOutMemory(parameters, Master * (keepsAll ? all : owned), owned, messages);
    }
}
