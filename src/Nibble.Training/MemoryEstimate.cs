using System.Globalization;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Configuration;
using Nibble.Modeling.Decoder;
using Nibble.Training.Configuration;
using TorchSharp;

namespace Nibble.Training;

/// <summary>Where a run's memory will go, in bytes; what the runtime itself takes (about 300 MB) not counted.</summary>
/// <param name="Weights">The base model.</param>
/// <param name="Trained">What learns in float32, with its gradients and the optimizer's states.</param>
/// <param name="Activations">Inputs of all layers, and the inside of one.</param>
public sealed record MemoryEstimate(long Weights, long Trained, long Activations)
{
    /// <summary>NF4 with its scales: 4 bits and 32 / 64, or when these are quantised 8 / 64 + 32 / (64 · 256).</summary>
    private const double Nf4Bytes = (4 + (32 / 64.0)) / 8;
    private const double Nf4DoubleBytes = (4 + (8 / 64.0) + (32 / (64.0 * 256))) / 8;

    /// <summary>All of it.</summary>
    public long Total => Weights + Trained + Activations;

    /// <summary>The estimate for a run.</summary>
    public static MemoryEstimate Of(RunConfig config, DecoderConfig model)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(model);
        long size = DTypeNames.Parse(config.Dtype) == torch.ScalarType.Float32 ? 4 : 2;
        (string Name, long[] Shape)[] weightShapes = [.. WeightShapes.Of(model)];
        (string Name, long[] Shape)[] linears = [.. weightShapes.Where(item => item.Shape.Length == 2 && item.Name.StartsWith("model.layers.", StringComparison.Ordinal))];
        long inLayers = linears.Sum(item => item.Shape[0] * item.Shape[1]);
        long all = weightShapes.Sum(item => item.Shape.Aggregate(1L, (product, size) => product * size));
        LoraConfig lora = config.Lora;
        long adapter = linears.Where(item => lora.Targets(item.Name[..^".weight".Length])).Sum(item => lora.R * (item.Shape[0] + item.Shape[1]));
        long learning = config.Method == Method.Full ? all : adapter;
        double perLinear = config.Method == Method.Qlora ? (config.Quantization.Bnb4bitUseDoubleQuant ? Nf4DoubleBytes : Nf4Bytes) : size;
        long weights = config.Method == Method.Full ? 0 : (long)(inLayers * perLinear) + ((all - inLayers) * size);
        long states = config.Training.Optim is OptimizerType.Adamw8bit or OptimizerType.PagedAdamw8bit ? 2 : 8;
        long tokens = (long)config.Training.PerDeviceTrainBatchSize * TrainingData.MaxLength(config, model);
        long inside = (6L * model.HiddenSize) + (4L * model.IntermediateSize) + (3L * model.NumAttentionHeads * model.HeadDim);
        return new MemoryEstimate(weights, learning * (4 + 4 + states), tokens * size * ((model.NumHiddenLayers * (long)model.HiddenSize * 2) + (2 * inside)));
    }

    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"Memory: about {Total / 1048576.0:0} MB ({Weights / 1048576.0:0} weights, {Trained / 1048576.0:0} trained with gradients and states, {Activations / 1048576.0:0} activations), and the runtime's own");
}
