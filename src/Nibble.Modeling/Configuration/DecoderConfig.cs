using Nibble.Modeling.Checkpoints;
using TorchSharp;

namespace Nibble.Modeling.Configuration;

/// <summary>
/// What a decoder-only transformer is made of, read once from a folder's config.json and validated there; the one decoder
/// implementation is driven by these values and knows no architecture by name.
/// </summary>
public sealed record DecoderConfig
{
    /// <summary><c>model_type</c> of config.json.</summary>
    public required string ModelType { get; init; }

    /// <summary>Rows of the embedding.</summary>
    public required int VocabSize { get; init; }

    /// <summary>Width of the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>Width of the feed-forward block.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>Decoder layers.</summary>
    public required int NumHiddenLayers { get; init; }

    /// <summary>Query heads.</summary>
    public required int NumAttentionHeads { get; init; }

    /// <summary>Key and value heads; divides the query heads.</summary>
    public required int NumKeyValueHeads { get; init; }

    /// <summary>Width of a head.</summary>
    public required int HeadDim { get; init; }

    /// <summary>Longest sequence in tokens.</summary>
    public required int MaxPositionEmbeddings { get; init; }

    /// <summary>Added to the mean square in norms.</summary>
    public required float RmsNormEps { get; init; }

    /// <summary>Rotary embedding.</summary>
    public required RopeConfig Rope { get; init; }

    /// <summary>Whether the output head is the embedding.</summary>
    public bool TieWordEmbeddings { get; init; }

    /// <summary>Biases on the query, key and value projections.</summary>
    public bool QueryKeyValueBias { get; init; }

    /// <summary>A bias on the attention's output projection.</summary>
    public bool OutputBias { get; init; }

    /// <summary>Biases in the feed-forward block.</summary>
    public bool MlpBias { get; init; }

    /// <summary>Norms over each query and key head before the rotation (Qwen 3).</summary>
    public bool QueryKeyNorm { get; init; }

    /// <summary>Positions a token sees in each layer, itself included; null for all.</summary>
    public required IReadOnlyList<int?> LayerWindows { get; init; }

    /// <summary>First token of a text, where the model has one.</summary>
    public int? BosTokenId { get; init; }

    /// <summary>Tokens that end a text, from generation_config.json and config.json.</summary>
    public IReadOnlyList<int> EosTokenIds { get; init; } = [];

    /// <summary>The dtype the checkpoint says it is stored in; null where it does not say.</summary>
    public torch.ScalarType? StoredDType => StoredDTypeName is { } name ? DTypeNames.Parse(name) : null;

    /// <summary>Its name.</summary>
    public string? StoredDTypeName { get; init; }

    /// <summary>Present when the folder's linear layers are already in NF4 (bitsandbytes).</summary>
    public bool IsQuantized { get; init; }
}
