using TorchSharp;

namespace Nibble.Modeling.Decoder;

/// <summary>How a checkpoint becomes a model in memory.</summary>
public sealed record LoadOptions
{
    /// <summary>Dtype of activations and of dense frozen weights; null for the one that the checkpoint is stored in.</summary>
    public torch.ScalarType? DType { get; init; }

    /// <summary>Where the weights go, and all computation with them; null for the CPU.</summary>
    public torch.Device? Device { get; init; }

    /// <summary>Whether the decoder layers' linear weights are quantised to NF4, tensor by tensor as they are read.</summary>
    public bool QuantizeNf4 { get; init; }

    /// <summary>With <see cref="QuantizeNf4"/>: whether the scales are quantised as well.</summary>
    public bool DoubleQuantize { get; init; } = true;

    /// <summary>
    /// Of which modules only shapes are made, as placeholders that ask for a gradient (<see cref="Placeholder"/>): their trainer keeps the values,
    /// which <see cref="ModelLoader.ReadDeferred"/> reads, and lends them while they are used. Null for none.
    /// </summary>
    public Func<string, bool>? Deferred { get; init; }

    /// <summary>Dtype of a deferred embedding or head; float32 is what their gradients are summed in.</summary>
    public torch.ScalarType DeferredVocabulary { get; init; } = torch.ScalarType.Float32;

    /// <summary>Told after each weight: how many are read, of how many.</summary>
    public Action<int, int>? Progress { get; init; }
}
