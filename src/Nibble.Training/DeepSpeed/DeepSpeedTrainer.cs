using Nibble.Kernels;
using Nibble.Kernels.Communication;
using Nibble.Training.Configuration;

namespace Nibble.Training.DeepSpeed;

/// <summary>Fine-tunes all weights as a DeepSpeed configuration says, in as many processes as mpirun, srun or torchrun started.</summary>
/// <param name="model">The base model's folder.</param>
/// <param name="deepSpeed">Null for <see cref="DeepSpeedConfig.Default"/>: ZeRO 3, offloaded to the host.</param>
/// <param name="config">What holds where the DeepSpeed configuration says nothing or <c>auto</c>; null for the defaults.</param>
public sealed class DeepSpeedTrainer(string model, DeepSpeedConfig? deepSpeed = null, FullFinetuneConfig? config = null)
    : Trainer(model, config ?? new FullFinetuneConfig())
{
    private readonly string dtype = (config ?? new FullFinetuneConfig()).ComputeDtype;

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">A key is not supported, or the batch keys do not agree with the number of processes.</exception>
    protected override RunConfig Configure(RunConfig run)
    {
        ArgumentNullException.ThrowIfNull(run);
        return (deepSpeed ?? DeepSpeedConfig.Default).Apply(
            run with { Method = Method.Full, Dtype = dtype }, Processes.Count, ComputeDevice.NamesGpu(run.Device));
    }
}
