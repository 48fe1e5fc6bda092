using Nibble.Training.Configuration;

namespace Nibble.Training;

/// <summary>Settings of <see cref="FullFinetuner"/>: loop and optimizer, with a rate and a batch that suit all weights.</summary>
public sealed record FullFinetuneConfig : TrainingSection
{
    /// <summary>The defaults.</summary>
    public FullFinetuneConfig()
    {
        LearningRate = 2e-5;
        GradientAccumulationSteps = 8;
    }

    /// <summary>Dtype of activations: bfloat16, float16 (whose losses are scaled) or float32. The weights that learn are float32 unless <see cref="TrainingSection.Bf16StochasticRound"/>.</summary>
    public string ComputeDtype { get; init; } = "bfloat16";
}

/// <summary>Fine-tunes all weights and writes a Hugging Face folder.</summary>
/// <param name="model">The base model's folder.</param>
/// <param name="config">Null for the defaults.</param>
public sealed class FullFinetuner(string model, FullFinetuneConfig? config = null) : Trainer(model, config ?? new FullFinetuneConfig())
{
    private readonly string dtype = (config ?? new FullFinetuneConfig()).ComputeDtype;

    /// <inheritdoc/>
    protected override RunConfig Configure(RunConfig run)
    {
        ArgumentNullException.ThrowIfNull(run);
        return run with { Method = Method.Full, Dtype = dtype };
    }
}
