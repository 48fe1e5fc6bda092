using System.Globalization;
using Nibble.Kernels;
using Nibble.Kernels.Communication;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Configuration;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;
using Nibble.Training.Batching;
using Nibble.Training.Checkpointing;
using Nibble.Training.Configuration;
using Nibble.Training.Distributed;
using Nibble.Training.Prompts;
using Nibble.Training.Reporting;
using static TorchSharp.torch;

namespace Nibble.Training;

/// <summary>What a run came to.</summary>
/// <param name="Steps">Optimizer steps done.</param>
/// <param name="Losses">Losses of the steps of this process, in order.</param>
/// <param name="Evaluations">Evaluations of this process, in order.</param>
/// <param name="TrainableParameters">Elements that learned.</param>
/// <param name="TotalParameters">Elements of model and adapter.</param>
public sealed record TrainingResult(
    int Steps, IReadOnlyList<(int Step, double Loss)> Losses, IReadOnlyList<EvalMetrics> Evaluations, long TrainableParameters, long TotalParameters)
{
    /// <summary>The run's last training loss, also when an earlier process came to it.</summary>
    public double? FinalLoss { get; init; }

    /// <summary>The run's last evaluation loss, also when an earlier process came to it; null when nothing was evaluated.</summary>
    public double? FinalEvalLoss { get; init; }

    /// <summary>Where the time went; null when nobody asked.</summary>
    public Profile? Profile { get; init; }
}

/// <summary>Runs a fine-tune from its configuration to a finished output folder.</summary>
public sealed class FineTuner
{
    private readonly RunConfig config;
    private readonly ITrainingObserver observer;

    /// <summary>A run of <paramref name="config"/>.</summary>
    /// <exception cref="ArgumentException">A value of the configuration is missing or out of range.</exception>
    public FineTuner(RunConfig config, ITrainingObserver? observer = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        this.config = config.Validated();
        this.observer = observer ?? new Silent();
    }

    /// <summary>
    /// The processes that train together, each with this very configuration; alone unless given. Each takes its share of every step's
    /// micro-batches; rank 0 alone tells the observer and writes the output folder.
    /// </summary>
    public ICommunicator World
    {
        get;
        init
        {
            ArgumentNullException.ThrowIfNull(value);
            field = value;
            observer = IsFirst ? observer : new Silent();
        }
    } = new SingleProcess();

    /// <summary>
    /// Whether to measure what the operators of each step take; the observer is told, and the output folder gets a
    /// <see cref="TraceFile"/>.
    /// </summary>
    public bool Profiles { get; init; }

    /// <summary>Is called when everything was found good and the first step is next.</summary>
    public Action? Began { get; init; }

    /// <summary>The first measured steps in Chrome's trace format, for Perfetto or chrome://tracing.</summary>
    public const string TraceFile = "trace.json";

    /// <summary>Trains and writes the output folder.</summary>
    /// <param name="resume">Goes on from the newest checkpoint of the output folder, if it has one.</param>
    /// <param name="cancellation">Saves a checkpoint and ends after the current step.</param>
    /// <exception cref="OperationCanceledException">The run was cancelled; it can be resumed.</exception>
    /// <exception cref="InvalidDataException">Model, data or output folder are not usable; the message says why.</exception>
    /// <exception cref="InsufficientMemoryException">Memory ran out; the message says what takes most of it, and which settings would need less.</exception>
    public TrainingResult Run(bool resume = false, CancellationToken cancellation = default)
    {
        try
        {
            return Train(resume, cancellation);
        }
        catch (Exception exception) when (ComputeDevice.MeansOutOfMemory(exception))
        {
            throw new InsufficientMemoryException(MemoryAdvice.For(config, World.Size, exception.Message), exception);
        }
    }

    private bool IsFirst => World.Rank == 0;

    private TrainingResult Train(bool resume, CancellationToken cancellation)
    {
        World.LimitWaits(TimeSpan.FromSeconds(config.Training.DdpTimeout));
        var folder = new RunFolder(config, World.Size);
        if (IsFirst)
        {
            folder.Require(resume);
        }

        World.Barrier().Wait(); // Others may have files of their own in it from now on.
        using DecoderModel model = LoadModel(cancellation);
        RunExamples examples = TrainingData.Load(config, model.Config, observer);
        (IReadOnlyList<EncodedExample> train, IReadOnlyList<EncodedExample> evaluation, PromptFormat format) = examples;
        KeepActivations(model, examples);
        using LoraAdapter? adapter = AttachAdapter(model);
        List<Parameter> parameters = [.. adapter?.Parameters ?? model.Parameters];
        long trainable = parameters.Sum(parameter => parameter.Value.NumberOfElements);
        long total = model.ParameterCount + (adapter?.Pairs.Sum(item => item.Pair.A.NumberOfElements + item.Pair.B.NumberOfElements) ?? 0);
        observer.Info(string.Create(
            CultureInfo.InvariantCulture, $"trainable params: {trainable:N0} || all params: {total:N0} || trainable%: {100.0 * trainable / total:0.####}"));
        using var optimizer = new ParallelOptimizer(config, model, parameters, World);
        var samples = new SampleAnswers(config, IsFirst ? evaluation : [], observer);
        IReadOnlyList<RunSample> answered = optimizer.Alone(() => samples.Before(model, cancellation)) ?? [];
        var plan = new BatchPlan(
            train,
            config.Training.PerDeviceTrainBatchSize,
            config.Data.Packing ? TrainingData.MaxLength(config, model.Config) : null,
            config.Data.Shuffle,
            config.Seed);
        using var store = new CheckpointStore(
            config.OutputDir, config.Training.SaveTotalLimit, config.SavesInBackground ? new BackgroundWriter() : null, World, TimeSpan.FromSeconds(config.Training.DdpTimeout),
            adapter is null ? null : new CheckpointAdapter(adapter.Config, config.Model, format));
        StepProfiler? profiler = Profiles && IsFirst ? new StepProfiler() : null;
        var heldOut = new HeldOutSet(model, config.Model, evaluation, config.Training, World, optimizer);
        var loop = new TrainingLoop(config, model, plan, heldOut, store, observer, profiler, World, optimizer);
        string? checkpoint = resume && IsFirst ? store.Latest : null;
        if (World.Gather(checkpoint is null ? 0 : 1)[0][0] > 0)
        {
            loop.Resume(checkpoint);
            observer.Info($"Resumed from {checkpoint}.");
        }

        if (!IsFirst)
        {
            loop.Run(log: null, cancellation);
            _ = optimizer.Alone<object?>(() => null);
            return new TrainingResult(loop.State.Step, loop.Losses, loop.Evaluations, trainable, total);
        }

        folder.Begin(format);
        RunSamples.Save(config.OutputDir, answered);
        Began?.Invoke();
        using var log = new RunLog(config.OutputDir, loop.State.Step);
        try
        {
            loop.Run(log, cancellation);
        }
        finally
        {
            Report(profiler);
        }

        optimizer.Alone(() =>
        {
            WriteWeights(model, adapter, optimizer);
            RunSamples.Save(config.OutputDir, samples.After(model, answered));
            return true;
        });
        format.Save(config.OutputDir);
        List<(int Step, double Loss)> losses = [.. log.Earlier.Losses, .. loop.Losses];
        List<EvalMetrics> evaluations = [.. log.Earlier.Evaluations, .. loop.Evaluations];
        var result = new TrainingResult(loop.State.Step, loop.Losses, loop.Evaluations, trainable, total)
        {
            FinalLoss = losses.Count > 0 ? losses[^1].Loss : null,
            FinalEvalLoss = evaluations.Count > 0 ? evaluations[^1].EvalLoss : null,
            Profile = profiler?.Profile,
        };
        AtomicFile.WriteText(Path.Combine(config.OutputDir, "README.md"), ModelCard.Write(config, format, result));
        LossPlot.Save(Path.Combine(config.OutputDir, "loss.png"), losses, evaluations);
        folder.Complete(result, format, model.Device.ToString());
        RunReport.Save(config.OutputDir);
        return result;
    }

    private void Report(StepProfiler? profiler)
    {
        if (profiler is { HasSteps: true })
        {
            profiler.WriteTrace(Path.Combine(config.OutputDir, TraceFile));
            observer.Info(profiler.Profile.ToString());
        }
    }

    /// <summary>What a run would do, without doing it: reads configuration and data, not the weights, and writes nothing.</summary>
    /// <param name="memory">Bytes that it should fit into; null for no such question.</param>
    /// <param name="processes">How many would train together; memory is one's.</param>
    public DryRun DryRun(long? memory = null, int processes = 1)
    {
        DecoderConfig model = ConfigReader.Read(config.Model);
        var notes = new List<string>();
        RunExamples examples = TrainingData.Load(config, model, new Notes(notes));
        IReadOnlySet<int> seen = examples.Tokens();
        HfTokenizer? tokenizer = ModelWriter.HasTokenizer(config.Model) ? HfTokenizer.FromPretrained(config.Model) : null;
        bool gpu = ComputeDevice.NamesGpu(config.Device);
        MemoryPlan? plan = memory is { } budget ? MemoryPlan.Of(config, model, gpu, budget, processes, seen) : null;
        return new DryRun(
            config, notes, examples.Train.Count, examples.Evaluation.Count, ExamplePiece.Of(examples.Train[0], tokenizer), MemoryEstimate.Of(config, model, gpu, processes, seen), plan);
    }

    /// <summary>Dtype of an embedding and head that learn: float32, in which their gradients are summed, unless there are no masters.</summary>
    private ScalarType Vocabulary => config.Training.Bf16StochasticRound ? ScalarType.BFloat16 : ScalarType.Float32;

    /// <summary>Loads the base model as the method needs it.</summary>
    private DecoderModel LoadModel(CancellationToken cancellation)
    {
        int stage = config.Method == Method.Full ? ParallelOptimizer.StageOf(config, World.Size) : 0;
        ScalarType dtype = DTypeNames.Parse(config.Dtype);
        DecoderModel model = ModelLoader.Load(config.Model, new LoadOptions
        {
            Deferred = stage == 3 ? module => !config.Training.Freeze.Any(pattern => NamePatterns.Matches(pattern, module)) : null,
            DeferredVocabulary = Vocabulary,
            DType = dtype,
            Device = World.Size > 1 ? World.Device : ComputeDevice.Choose(config.Device, observer.Info),
            QuantizeNf4 = config.Method == Method.Qlora,
            DoubleQuantize = config.Quantization.Bnb4bitUseDoubleQuant,
            Progress = (done, total) =>
            {
                cancellation.ThrowIfCancellationRequested();
                observer.Loading(done, total);
            },
        });
        if (config.Method == Method.Full)
        {
            if (model.Config.IsQuantized)
            {
                model.Dispose();
                throw new InvalidDataException($"{config.Model} is stored in NF4, whose weights cannot be trained; use method qlora.");
            }

            try
            {
                // With shares, the masters are there.
                model.UnfreezeAll(config.Training.Freeze, stage > 0 ? dtype : Vocabulary, Vocabulary);
            }
            catch (ArgumentException)
            {
                model.Dispose();
                throw;
            }
        }

        return model;
    }

    /// <summary>Lets all layers keep their activations, or as many as the memory that the run may take has room for.</summary>
    private void KeepActivations(DecoderModel model, RunExamples examples)
    {
        if (!config.Training.GradientCheckpointing)
        {
            model.LayersThatKeepActivations = model.Config.NumHiddenLayers;
        }
        else if (config.MemoryLimit is { } limit)
        {
            var estimate = MemoryEstimate.Of(config, model.Config, ComputeDevice.GpuMemory(model.Device) is not null, World.Size, examples.Tokens());
            model.LayersThatKeepActivations = estimate.KeptLayers;
            observer.Info(estimate.Total <= ByteSize.Parse(limit)
                ? $"{estimate.KeptLayers} of {model.Config.NumHiddenLayers} layers keep their activations within memory_limit {limit}."
                : $"memory_limit is {limit}, but the run needs about {ByteSize.Format(estimate.Total)}.");
        }
    }

    private LoraAdapter? AttachAdapter(DecoderModel model) =>
        config.Method == Method.Full ? null
        : config.Lora.InitAdapter is { } initial ? AdapterFolder.Load(model, initial, stored => stored with { LoraDropout = config.Lora.LoraDropout })
        : LoraAdapter.Create(model, config.Lora, config.Seed);

    private void WriteWeights(DecoderModel model, LoraAdapter? adapter, ParallelOptimizer optimizer)
    {
        if (adapter is null)
        {
            using CheckpointTensors stored = CheckpointTensors.Open(config.Model);
            ScalarType dtype = config.Training.Bf16StochasticRound ? ScalarType.BFloat16 : model.Config.StoredDType ?? model.ComputeDType;
            HashSet<string> learned = [.. model.Parameters.Select(parameter => parameter.Name)];
            ModelWriter.Write(model, config.Model, config.OutputDir, dtype, made: weight => learned.Contains(weight.Name) || !stored.Contains(weight.Name)
                ? optimizer.Collected(weight)
                : weight with { Make = () => stored.Read(weight.Name, weight.DType, weight.Shape) }); // What is frozen was computed with in another dtype, maybe.
        }
        else
        {
            AdapterFolder.Save(adapter, config.OutputDir, config.Model);
            foreach (string name in ModelWriter.CompanionsOf(config.Model).Where(DescribesText))
            {
                AtomicFile.Copy(Path.Combine(config.Model, name), Path.Combine(config.OutputDir, name));
            }
        }
    }

    private static bool DescribesText(string companion) =>
        companion.StartsWith("token", StringComparison.Ordinal) || companion.StartsWith("chat", StringComparison.Ordinal)
        || companion == "special_tokens_map.json" || companion.EndsWith(".tiktoken", StringComparison.Ordinal);

    private sealed class Silent : ITrainingObserver;

    private sealed class Notes(List<string> notes) : ITrainingObserver
    {
        public void Info(string message) => notes.Add(message);
    }
}
