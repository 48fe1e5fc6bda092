using Nibble.Training.Configuration;

namespace Nibble.Training.Distributed;

/// <summary>
/// What one of several processes holds of what learns (arXiv:1910.02054, section 5; masters, gradients and states are float32 here). Of P
/// parameters in b bytes between N processes: 8P without ZeRO besides 8P of states; with stage 1 and one micro-batch a step, and with stage 2,
/// bP + 4P/N + 4P/N; with stage 3 8P/N and two units. Without masters (<c>bf16_stochastic_round</c>) 2P or 2P/N take their place, and gradients that are
/// not summed between processes are of 2 bytes; with updates in the backward pass (<c>optimizer_in_bwd</c>) one bucket's gradients are there.
/// On a GPU, what is offloaded is not counted: of parameters two units are there, and one bucket of gradients.
/// </summary>
/// <param name="Parameters">Bytes of parameters, masters included.</param>
/// <param name="Gradients">Bytes of gradients that outlast a pass, or all of them where none is sent before.</param>
/// <param name="Owned">Elements whose states this process keeps.</param>
/// <param name="Shares">Bytes of the parameters that this process updates.</param>
/// <param name="Messages">Bytes of buckets under way between processes.</param>
internal sealed record SharedOutMemory(long Parameters, long Gradients, long Owned, long Shares, long Messages)
{
    private const long Master = sizeof(float);

    /// <summary>Adds up a run.</summary>
    /// <param name="config">The run.</param>
    /// <param name="processes">How many.</param>
    /// <param name="gpu">Whether they compute on GPUs, whose memory is meant.</param>
    /// <param name="units">Of each unit of the model: elements in the dtype of computation, and elements in float32.</param>
    /// <param name="bytes">Of an element in that dtype.</param>
    /// <param name="largest">Elements of the largest tensor.</param>
    public static SharedOutMemory Of(RunConfig config, int processes, bool gpu, IReadOnlyList<(long Computed, long Others)> units, long bytes, long largest)
    {
        TrainingSection settings = config.Training;
        int stage = ParallelOptimizer.StageOf(config, processes);
        long all = units.Sum(unit => unit.Computed + unit.Others);
        long computed = units.Sum(unit => unit.Computed);
        long owned = stage > 0 ? (all + processes - 1) / processes : all;
        long bucket = Math.Max(largest, Math.Min(all, settings.ReduceBucketSize));
        long messages = processes > 1 ? Master * 2 * bucket : 0; // This process's, and what comes from others.
        long kept = settings.Bf16StochasticRound ? bytes : Master; // Of what is computed with in another dtype, the bytes that updates are made in.
        long shares = ((kept * computed) + (Master * (all - computed))) / (stage > 0 ? processes : 1);
        // Between processes gradients are summed in float32.
        long gradient = stage == 0 && processes == 1 ? kept : Master;
        bool onHost = gpu && settings.OffloadParameters != OffloadDevice.None;
        if (settings.OptimizerInBwd || onHost)
        {
            long held = stage == 0 ? Math.Max(bucket, units.Max(unit => unit.Computed + unit.Others)) : bucket / processes;
            return new SharedOutMemory(Weights(), gradient * held, onHost ? 0 : owned, onHost ? 0 : shares, messages);
        }

        bool keepsAll = stage == 1 && settings.GradientAccumulationSteps > 1;
        return new SharedOutMemory(Weights(), stage == 0 ? ((gradient * computed) + (Master * (all - computed))) : Master * (keepsAll ? all : owned), owned, shares, messages);

        long Weights()
        {
            if (stage == 3)
            {
                long[] inUse = [.. units.Select(unit => (bytes * unit.Computed) + (Master * unit.Others)).OrderDescending().Take(2)];
                return inUse.Sum() + (onHost || settings.OffloadParameters == OffloadDevice.Disk ? kept * largest / processes : shares);
            }

            // Masters of what computes in another dtype lie apart.
            return stage == 0 ? shares : (bytes * computed) + (Master * (all - computed)) + (kept == bytes ? 0 : Master * computed / processes);
        }
    }
}
