using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>What the layers of one pass share.</summary>
internal sealed record ForwardContext
{
    /// <summary>Tokens of each sequence in this pass.</summary>
    public required IReadOnlyList<int> Lengths { get; init; }

    /// <summary>float32 <c>[tokens, head_dim / 2]</c>.</summary>
    public required Tensor Cos { get; init; }

    /// <summary>float32 <c>[tokens, head_dim / 2]</c>.</summary>
    public required Tensor Sin { get; init; }

    /// <summary>Present during generation.</summary>
    public KvCache? Cache { get; init; }

    /// <summary>Present during training; a mask for each adapted layer comes of it.</summary>
    public DropoutState? Dropout { get; init; }
}

/// <summary>Names the dropout masks of one training pass: the run's seed and the number of the pass.</summary>
/// <param name="Seed">The run's seed.</param>
/// <param name="Pass">Counts micro-batches of the run, so that a resumed run sees the masks it would have seen.</param>
public readonly record struct DropoutState(ulong Seed, uint Pass);
