using Nibble.Modeling.Adapters;
using Nibble.Training.Configuration;

namespace Nibble.Training;

/// <summary>Fine-tunes a LoRA adapter from code; <see cref="FineTuner"/> does the same from a configuration file.</summary>
/// <param name="model">The base model's folder.</param>
/// <param name="config">The adapter.</param>
/// <param name="training">Loop and optimizer; null for the defaults.</param>
public class LoraTrainer(string model, LoraConfig config, TrainingSection? training = null)
{
    /// <summary>Trains on a file of examples and writes the adapter's folder.</summary>
    /// <param name="data">The examples.</param>
    /// <param name="outputDir">Where results go; must not hold another run.</param>
    /// <param name="resume">Goes on from the newest checkpoint of the output folder, if it has one.</param>
    /// <param name="observer">Is told how the run proceeds.</param>
    /// <param name="cancellation">Saves a checkpoint and ends after the current step.</param>
    public TrainingResult Train(
        DataSection data, string outputDir, bool resume = false, ITrainingObserver? observer = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(data);
        RunConfig run = Configure(new RunConfig
        {
            Model = model,
            OutputDir = outputDir,
            Data = data,
            Training = training ?? new TrainingSection(),
            Lora = new LoraSection(config),
        });
        return new FineTuner(run, observer).Run(resume, cancellation);
    }

    /// <summary>What distinguishes the method.</summary>
    protected virtual RunConfig Configure(RunConfig run)
    {
        ArgumentNullException.ThrowIfNull(run);
        return run with { Method = Method.Lora };
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
    protected override RunConfig Configure(RunConfig run) => run with
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
