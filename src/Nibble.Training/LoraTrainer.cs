using Nibble.Modeling.Adapters;
using Nibble.Training.Configuration;

namespace Nibble.Training;

/// <summary>Fine-tunes a LoRA adapter.</summary>
/// <param name="model">The base model's folder.</param>
/// <param name="config">The adapter.</param>
/// <param name="training">Loop and optimizer; null for the defaults.</param>
public class LoraTrainer(string model, LoraConfig config, TrainingSection? training = null) : Trainer(model, training)
{
    /// <inheritdoc/>
    protected override RunConfig Configure(RunConfig run)
    {
        ArgumentNullException.ThrowIfNull(run);
        return run with { Method = Method.Lora, Lora = new LoraSection(config) };
    }
}

/// <summary>Settings of QLoRA (arXiv:2305.14314): the adapter, and how the base model is quantised.</summary>
public sealed record QLoraConfig
{
    /// <summary>The adapter.</summary>
    public LoraConfig Lora { get; init; } = new();

    /// <summary>Format of the base model's weights: only <c>nf4</c> is supported.</summary>
    public string QuantType { get; init; } = "nf4";

    /// <summary>Whether the scales are quantised as well.</summary>
    public bool UseDoubleQuant { get; init; } = true;

    /// <summary>float32, bfloat16 or float16.</summary>
    public string ComputeDtype { get; init; } = "bfloat16";
}

/// <summary>Fine-tunes a LoRA adapter over a base model in NF4.</summary>
/// <param name="model">The base model's folder.</param>
/// <param name="config">Adapter and quantisation.</param>
/// <param name="training">Loop and optimizer; null for the defaults.</param>
public sealed class QLoraTrainer(string model, QLoraConfig config, TrainingSection? training = null) : LoraTrainer(model, config.Lora, training)
{
    /// <inheritdoc/>
    protected override RunConfig Configure(RunConfig run) => base.Configure(run) with
    {
        Method = Method.Qlora,
        Dtype = config.ComputeDtype,
        Quantization = new QuantizationSection
        {
            Bnb4bitQuantType = config.QuantType,
            Bnb4bitUseDoubleQuant = config.UseDoubleQuant,
            Bnb4bitComputeDtype = config.ComputeDtype,
        },
    };
}
