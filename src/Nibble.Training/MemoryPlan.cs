using Nibble.Modeling.Configuration;
using Nibble.Training.Configuration;

namespace Nibble.Training;

/// <summary>A setting that lowers what a run needs.</summary>
/// <param name="Key">Its key in the configuration.</param>
/// <param name="From">What it is.</param>
/// <param name="To">What it should be.</param>
/// <param name="Total">Bytes that the run needs after this change and those before it.</param>
public sealed record MemoryChange(string Key, string From, string To, long Total);

/// <summary>How to make a run fit into given memory.</summary>
/// <param name="Budget">The memory, in bytes.</param>
/// <param name="Needed">What the run needs as it is configured.</param>
/// <param name="Changes">What to change, least harm first; empty when it fits already, or nothing helps.</param>
public sealed record MemoryPlan(long Budget, long Needed, IReadOnlyList<MemoryChange> Changes)
{
    /// <summary>Sequences shorter than this teach too little to be worth a proposal.</summary>
    private const int ShortestLength = 256;

    /// <summary>Every key that a proposal may change.</summary>
    private static readonly (string Key, Func<RunConfig, string> Value)[] Keys =
    [
        ("training.gradient_checkpointing", config => config.Training.GradientCheckpointing ? "true" : "false"),
        ("training.save_async", config => config.SavesInBackground ? "true" : "false"),
        ("training.optim", config => ConfigBinder.KeyOf(config.Training.Optim.ToString())),
        ("training.per_device_train_batch_size", config => $"{config.Training.PerDeviceTrainBatchSize}"),
        ("training.gradient_accumulation_steps", config => $"{config.Training.GradientAccumulationSteps}"),
        ("quantization.bnb_4bit_use_double_quant", config => config.Quantization.Bnb4bitUseDoubleQuant ? "true" : "false"),
        ("method", config => ConfigBinder.KeyOf(config.Method.ToString())),
        ("data.max_length", config => $"{config.Data.MaxLength}"),
    ];

    /// <summary>What the run needs after all changes.</summary>
    public long Least => Changes.Count > 0 ? Changes[^1].Total : Needed;

    /// <summary>Whether the run fits, after all changes.</summary>
    public bool Fits => Least <= Budget;

    /// <summary>Plans a run.</summary>
    /// <param name="config">The run.</param>
    /// <param name="model">Its base model.</param>
    /// <param name="gpu">Whether it runs on a GPU.</param>
    /// <param name="budget">The memory, in bytes.</param>
    /// <param name="processes">How many train together.</param>
    /// <param name="seen">The tokens that occur in its examples, as for <see cref="MemoryEstimate.Of"/>.</param>
    public static MemoryPlan Of(RunConfig config, DecoderConfig model, bool gpu, long budget, int processes = 1, IReadOnlySet<int>? seen = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        config = config with { MemoryLimit = null }; // What is left over is no need.
        long needed = Total(config);
        var changes = new List<MemoryChange>();
        foreach (Func<RunConfig, DecoderConfig, IEnumerable<RunConfig>> step in Steps(gpu))
        {
            // The first that fits does least harm; where none does, the last needs least.
            List<RunConfig> candidates = [.. step(config, model)];
            long before = Total(config);
            RunConfig? next = candidates.Find(candidate => Total(candidate) <= budget) ?? candidates.LastOrDefault();
            if (before > budget && next is not null && Total(next) < before)
            {
                changes.AddRange(Keys.Where(key => key.Value(config) != key.Value(next)).Select(key => new MemoryChange(key.Key, key.Value(config), key.Value(next), Total(next))));
                config = next;
            }
        }

        return new MemoryPlan(budget, needed, changes);

        long Total(RunConfig candidate) => MemoryEstimate.Of(candidate, model, gpu, processes, seen).Total;
    }

    /// <inheritdoc/>
    public override string ToString() => string.Join(Environment.NewLine,
    [
        Needed <= Budget ? $"It fits into {ByteSize.Format(Budget)}."
            : Fits ? $"It does not fit into {ByteSize.Format(Budget)}; with these changes it needs {ByteSize.Format(Least)}:"
            : $"It does not fit into {ByteSize.Format(Budget)} whatever is changed; the least possible is {ByteSize.Format(Least)}{(Changes.Count > 0 ? ", with:" : ".")}",
        .. Changes.Select(change => $"  --set {change.Key}={change.To}   (from {change.From}; needs {ByteSize.Format(change.Total)})"),
    ]);

    /// <summary>What can be changed, in the order of harm, each with its candidates in that order.</summary>
    private static IEnumerable<Func<RunConfig, DecoderConfig, IEnumerable<RunConfig>>> Steps(bool gpu) =>
        [.. gpu ? [Paged] : Array.Empty<Func<RunConfig, DecoderConfig, IEnumerable<RunConfig>>>(), ComputedAgain, SavedInTurn, SmallerBatches, DoubleQuantised, EightBitStates, Quantised, Shorter];

    private static IEnumerable<RunConfig> Paged(RunConfig config, DecoderConfig model) =>
        [WithOptimizer(config, config.Training.Optim is OptimizerType.Adamw8bit or OptimizerType.PagedAdamw8bit ? OptimizerType.PagedAdamw8bit : OptimizerType.PagedAdamw32bit)];

    private static IEnumerable<RunConfig> ComputedAgain(RunConfig config, DecoderConfig model) =>
        [config with { Training = config.Training with { GradientCheckpointing = true } }];

    /// <summary>The copies of adapters are too small to be worth a proposal.</summary>
    private static IEnumerable<RunConfig> SavedInTurn(RunConfig config, DecoderConfig model) =>
        config.Method == Method.Full ? [config with { Training = config.Training with { SaveAsync = false } }] : [];

    /// <summary>As many sequences a step, in more micro-batches.</summary>
    private static IEnumerable<RunConfig> SmallerBatches(RunConfig config, DecoderConfig model)
    {
        TrainingSection training = config.Training;
        long sequences = (long)training.PerDeviceTrainBatchSize * training.GradientAccumulationSteps;
        for (int batch = training.PerDeviceTrainBatchSize - 1; batch > 0; batch--)
        {
            if (sequences % batch == 0)
            {
                yield return config with { Training = training with { PerDeviceTrainBatchSize = batch, GradientAccumulationSteps = (int)(sequences / batch) } };
            }
        }
    }

    private static IEnumerable<RunConfig> DoubleQuantised(RunConfig config, DecoderConfig model) =>
        [config with { Quantization = config.Quantization with { Bnb4bitUseDoubleQuant = true } }];

    private static IEnumerable<RunConfig> EightBitStates(RunConfig config, DecoderConfig model) => [WithOptimizer(config, config.Training.Optim switch
    {
        OptimizerType.AdamwTorch => OptimizerType.Adamw8bit,
        OptimizerType.PagedAdamw32bit => OptimizerType.PagedAdamw8bit,
        OptimizerType same => same,
    })];

    private static IEnumerable<RunConfig> Quantised(RunConfig config, DecoderConfig model) =>
        config.Training.ZeroStage == 3 ? [] : [config with { Method = Method.Qlora, Quantization = config.Quantization with { Bnb4bitUseDoubleQuant = true } }];

    private static IEnumerable<RunConfig> Shorter(RunConfig config, DecoderConfig model)
    {
        for (int length = TrainingData.MaxLength(config, model); length > ShortestLength;)
        {
            length = Math.Max(length / 2, ShortestLength);
            yield return config with { Data = config.Data with { MaxLength = length } };
        }
    }

    private static RunConfig WithOptimizer(RunConfig config, OptimizerType optimizer) => config with { Training = config.Training with { Optim = optimizer } };
}
