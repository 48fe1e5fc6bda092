using System.Text.Json.Serialization;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Configuration;
using Nibble.Modeling.Decoder;
using Nibble.Training.Configuration;
using Nibble.Training.Distributed;

namespace Nibble.Training;

/// <summary>Where a run's memory will go at its peak, in bytes, if its sequences are as long as the configuration lets them be.</summary>
/// <remarks>
/// On a CPU the total was measured to lie within 10% of the peak of resident memory; pages of the model's file that nothing needs any
/// more, and which the system takes back when it wants them, are not counted. The figures for a GPU follow from the same reasoning
/// about what is alive at the same time, but were not measured.
/// </remarks>
public sealed record MemoryEstimate
{
    /// <summary>NF4 with its scales: 4 bits and 32 / 64, or when these are quantised 8 / 64 + 32 / (64 · 256).</summary>
    private const double Nf4Bytes = (4 + (32 / 64.0)) / 8;
    private const double Nf4DoubleBytes = (4 + (8 / 64.0) + (32 / (64.0 * 256))) / 8;

    /// <summary>Two pages of the paged optimizer: the one in use, and the next.</summary>
    private const long PagesHeld = 2 * (16L << 20);

    /// <summary>.NET and libtorch on a CPU, measured; about what a CUDA context with libtorch's kernels takes of a GPU.</summary>
    private const long CpuRuntime = 220L << 20;
    private const long GpuRuntime = 512L << 20;

    /// <summary>What is frozen: dense in the compute dtype, or in NF4 with its scales; norms in float32.</summary>
    public required long Weights { get; init; }

    /// <summary>What learns, in float32 or without masters in bfloat16: adapters and <c>modules_to_save</c>, or the whole model; with ZeRO the shares and what is computed with.</summary>
    public required long TrainedParameters { get; init; }

    /// <summary>A gradient for each of them, or of this process's share; with updates in the backward pass those of a layer.</summary>
    public required long Gradients { get; init; }

    /// <summary>Two moments for each: eight bytes, or two and a scale for each 256; of paged ones only two pages, of those on the disk only the largest parameter's.</summary>
    public required long OptimizerStates { get; init; }

    /// <summary>The inputs of all layers and of the last norm, until a micro-batch is through.</summary>
    public required long LayerInputs { get; init; }

    /// <summary>The inside of one layer: what is kept of running it again, and the gradients under way.</summary>
    public required long Layer { get; init; }

    /// <summary>
    /// Layers whose activations are kept from forward to backward: as many as fit into <see cref="RunConfig.MemoryLimit"/> beside all else, or
    /// all without <see cref="TrainingSection.GradientCheckpointing"/>.
    /// </summary>
    public required int KeptLayers { get; init; }

    /// <summary>What these keep, beside the inside of one layer.</summary>
    public required long KeptActivations { get; init; }

    /// <summary>Logits of a chunk of the loss, messages between processes, and gradients of the vocabulary's matrices before they are added to what is there.</summary>
    public required long Workspace { get; init; }

    /// <summary>Trained parameters and optimizer states once more, while a checkpoint is written beside the training (<c>save_async</c>); a GPU's lies in the host's memory.</summary>
    public required long CheckpointCopy { get; init; }

    /// <summary>What is taken before the model is loaded.</summary>
    public required long Runtime { get; init; }

    /// <summary>All of it.</summary>
    public long Total => Parts.Sum(part => part.Bytes);

    /// <summary>The parts by what people call them.</summary>
    [JsonIgnore]
    public IReadOnlyList<(string Name, long Bytes)> Parts =>
    [
        ("frozen weights", Weights), ("trained parameters", TrainedParameters), ("gradients", Gradients), ("optimizer states", OptimizerStates),
        ("inputs of all layers", LayerInputs), ("inside of one layer", Layer), ("kept activations", KeptActivations), ("workspace", Workspace), ("copy for a checkpoint", CheckpointCopy), ("runtime", Runtime),
    ];

    /// <summary>The three largest consumers in words, the runtime, which no setting changes, not among them.</summary>
    [JsonIgnore]
    public string Largest => string.Join(
        ", ", Parts.SkipLast(1).OrderByDescending(part => part.Bytes).Take(3).Select(part => $"{part.Name} {ByteSize.Format(part.Bytes)}"));

    /// <summary>The estimate for a run.</summary>
    /// <param name="config">The run; of an adapter that it goes on from, the settings are taken to be the configuration's.</param>
    /// <param name="model">Its base model.</param>
    /// <param name="gpu">Whether it runs on a GPU.</param>
    /// <param name="processes">How many train together; the estimate is one's.</param>
    /// <param name="seen">The tokens that occur in its examples; null where they are not known, and the whole embedding counts.</param>
    public static MemoryEstimate Of(RunConfig config, DecoderConfig model, bool gpu, int processes = 1, IReadOnlySet<int>? seen = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        ArgumentNullException.ThrowIfNull(model);
        long size = DTypeNames.Bytes(config.Dtype);
        List<(string Module, long[] Shape)> weights = [.. WeightShapes.Of(model).Select(item => (item.Name[..item.Name.LastIndexOf('.')], item.Shape))];
        bool embeddingLearns = Learns(config, "model.embed_tokens");
        bool headLearns = model.TieWordEmbeddings ? embeddingLearns || (config.Method != Method.Full && Learns(config, "lm_head")) : Learns(config, "lm_head");
        long vocabulary = (long)model.VocabSize * model.HiddenSize;
        long trained = weights.Where(item => Learns(config, item.Module)).Sum(item => Count(item.Shape)) + Adapters(config, weights);
        if (model.TieWordEmbeddings && config.Method != Method.Full && Learns(config, "lm_head"))
        {
            trained += vocabulary; // A tied head that learns gets a weight of its own.
        }

        long tokens = (long)config.Training.PerDeviceTrainBatchSize * TrainingData.MaxLength(config, model);
        long trainedInLayer = weights.Where(item => IsLinear(item.Module, item.Shape)).GroupBy(item => item.Module.Split('.')[2])
            .Max(inLayer => inLayer.Where(item => Learns(config, item.Module)).Sum(item => Count(item.Shape)));
        long largest = weights.Where(item => Learns(config, item.Module)).Select(item => Count(item.Shape))
            .Append(config.Method == Method.Full ? 0 : config.Lora.R * (long)Math.Max(model.HiddenSize, model.IntermediateSize)).Max();
        SharedOutMemory shared = SharedOutMemory.Of(config, processes, gpu, Units(config, weights, trained), size, largest);
        bool accumulates = config.Training.GradientAccumulationSteps > 1;
        // Two of a tied matrix are first added to each other.
        long gradientsApart = (embeddingLearns ? vocabulary : 0) + (headLearns && accumulates ? (model.TieWordEmbeddings && embeddingLearns ? 2 : 1) * vocabulary : 0);
        // Trained linear layers are cast to the compute dtype each time they are used, if they are of another.
        long layer = (tokens * size * InsideOfLayer(config, model, gpu)) + (size == 4 || config.Training.Bf16StochasticRound ? 0 : size * trainedInLayer);
        long workspace = (gpu ? GpuWorkspace(model, tokens) : CpuWorkspace(model, tokens, size, layer)) + (4 * gradientsApart);
        bool mapped = !gpu && !embeddingLearns && !model.TieWordEmbeddings && model.StoredDTypeName == DTypeNames.InFull(config.Dtype);
        long unread = mapped && seen is not null ? (size * vocabulary) - EmbeddingPages.Read(model, size, seen) : 0;
        var estimate = new MemoryEstimate
        {
            Weights = weights.Where(item => !Learns(config, item.Module)).Sum(item => Frozen(config, model, item.Module, item.Shape, size)) - unread,
            TrainedParameters = shared.Parameters,
            Gradients = shared.Gradients,
            OptimizerStates = Held(config.Training.Optim, States(config.Training.Optim, config.Training.OffloadOptimizer == OffloadDevice.Disk ? Math.Min(largest, shared.Owned) : shared.Owned), gpu),
            LayerInputs = tokens * size * (model.NumHiddenLayers + 1) * model.HiddenSize,
            Layer = layer,
            KeptLayers = 0,
            KeptActivations = 0,
            Workspace = workspace + shared.Messages,
            CheckpointCopy = config.SavesInBackground && !gpu ? shared.Shares + States(config.Training.Optim, shared.Owned) : 0,
            Runtime = gpu ? GpuRuntime : CpuRuntime,
        };
        long spare = config.MemoryLimit is { } limit ? Math.Max(0, ByteSize.Parse(limit) - estimate.Total) : 0;
        long activations = tokens * size * KeptOfLayer(config, model, gpu);
        int apart = model.NumHiddenLayers - 1; // Where all layers keep theirs, those of one count as the inside of a layer.
        long others = config.Training.GradientCheckpointing ? Math.Min(spare / activations, apart) : apart;
        return estimate with { KeptLayers = others == apart ? model.NumHiddenLayers : (int)others, KeptActivations = others * activations };
    }

    /// <inheritdoc/>
    public override string ToString() => string.Join(
        Environment.NewLine, Parts.Select(part => $"  {part.Name,-22}{ByteSize.Format(part.Bytes),12}").Prepend($"Memory: about {ByteSize.Format(Total)}"));

    /// <summary>Logits of a slice of the vocabulary, and the gradient of the hidden states, in float32.</summary>
    private static long GpuWorkspace(DecoderConfig model, long tokens) =>
        4 * Math.Min(2048, tokens) * (Math.Min(4096, model.VocabSize) + model.HiddenSize);

    /// <summary>
    /// The loss's probabilities of a chunk of tokens (native/cpu/kernels/cross_entropy.h), as far as they need more than what a layer
    /// leaves free when it is through, and the free blocks that are kept in any case (native/api/blocks.cpp).
    /// </summary>
    private static long CpuWorkspace(DecoderConfig model, long tokens, long size, long layer)
    {
        long most = Math.Clamp((long)model.VocabSize * model.HiddenSize / 2, 32L << 20, 128L << 20);
        long probabilities = Math.Min(Math.Min(1024, tokens) * model.VocabSize * size, most);
        return Math.Max(0, probabilities - layer) + Math.Min(48L << 20, probabilities + layer);
    }

    /// <summary>
    /// Elements a token: beside what the layer keeps, its output and that one's gradient, and in its feed-forward block or in its attention, whichever
    /// takes more, the gradients of a block's results and arguments. libtorch's attention, which a GPU has, spreads grouped keys and values to
    /// the queries' width.
    /// </summary>
    private static long InsideOfLayer(RunConfig config, DecoderConfig model, bool gpu)
    {
        (long queries, long keys) = (Queries(model), Keys(model));
        long attention = (3 * queries) + (2 * (gpu ? queries : keys));
        return KeptOfLayer(config, model, gpu) + (2L * model.HiddenSize) + Math.Max(3L * model.IntermediateSize, attention);
    }

    /// <summary>
    /// Elements a token that a layer keeps for its backward pass beside its input: the normed input, the sum after attention; queries and
    /// keys turned, values, what they attend to; gate and up; and where projections in the feed-forward block learn, their inputs.
    /// </summary>
    private static long KeptOfLayer(RunConfig config, DecoderConfig model, bool gpu)
    {
        (long queries, long keys) = (Queries(model), Keys(model));
        long normed = model.QueryKeyNorm ? queries + keys : 0;
        long spread = gpu && queries > keys ? 2 * queries : 0;
        long hidden = AnyLearns("mlp.gate_proj") || AnyLearns("mlp.up_proj") ? 3 : 2;
        long gated = AnyLearns("mlp.down_proj") ? 3 : 2;
        return (hidden * model.HiddenSize) + (2 * queries) + (2 * keys) + normed + spread + (gated * model.IntermediateSize);

        bool AnyLearns(string projection) => Enumerable.Range(0, model.NumHiddenLayers).Select(layer => $"model.layers.{layer}.{projection}")
            .Any(module => Learns(config, module) || (config.Method != Method.Full && config.Lora.Targets(module)));
    }

    private static long Queries(DecoderConfig model) => model.NumAttentionHeads * (long)model.HeadDim;

    private static long Keys(DecoderConfig model) => model.NumKeyValueHeads * (long)model.HeadDim;

    /// <summary>What learns of each unit of the model: what is in the dtype of computation where masters lie apart or are not there, and the rest; of an adapter all in one.</summary>
    private static IReadOnlyList<(long Computed, long Others)> Units(RunConfig config, List<(string Module, long[] Shape)> weights, long trained)
    {
        return config.Method != Method.Full
        ? [(0, trained)]
        : [.. weights.Where(item => Learns(config, item.Module)).GroupBy(item => item.Module.StartsWith("model.layers.", StringComparison.Ordinal) ? item.Module.Split('.')[2] : item.Module)
            .Select(unit => (Count: unit.Sum(item => Count(item.Shape)), Computed: unit.Where(item => IsComputed(item.Module, item.Shape)).Sum(item => Count(item.Shape))))
            .Select(unit => (unit.Computed, unit.Count - unit.Computed))];

        bool IsComputed(string module, long[] shape) => IsLinear(module, shape) || (config.Training.Bf16StochasticRound && !module.EndsWith("norm", StringComparison.Ordinal));
    }

    private static long Frozen(RunConfig config, DecoderConfig model, string module, long[] shape, long size)
    {
        bool quantised = (config.Method == Method.Qlora || model.IsQuantized) && IsLinear(module, shape);
        bool isNorm = module.EndsWith("norm", StringComparison.Ordinal);
        double each = quantised ? (config.Quantization.Bnb4bitUseDoubleQuant ? Nf4DoubleBytes : Nf4Bytes) : isNorm ? 4 : size;
        return (long)(Count(shape) * each);
    }

    private static long Adapters(RunConfig config, List<(string Module, long[] Shape)> weights) => config.Method == Method.Full ? 0
        : weights.Where(item => IsLinear(item.Module, item.Shape) && config.Lora.Targets(item.Module)).Sum(item => config.Lora.R * (item.Shape[0] + item.Shape[1]));

    private static long Held(OptimizerType optimizer, long states, bool gpu)
    {
        bool paged = gpu && optimizer is (OptimizerType.PagedAdamw8bit or OptimizerType.PagedAdamw32bit);
        return paged ? Math.Min(states, PagesHeld) : states;
    }

    private static long States(OptimizerType optimizer, long trained) => optimizer is OptimizerType.Adamw8bit or OptimizerType.PagedAdamw8bit
        ? (2 * trained) + (8 * trained / Kernels.AdamW.StateBlock)
        : 8 * trained;

    private static bool Learns(RunConfig config, string module) =>
        config.Method == Method.Full ? !config.Training.Freeze.Any(pattern => NamePatterns.Matches(pattern, module)) : config.Lora.ModulesToSave.Any(wanted => module.EndsWith(wanted, StringComparison.Ordinal));

    private static bool IsLinear(string module, long[] shape) => shape.Length == 2 && module.StartsWith("model.layers.", StringComparison.Ordinal);

    private static long Count(long[] shape) => shape.Aggregate(1L, (product, length) => product * length);
}
