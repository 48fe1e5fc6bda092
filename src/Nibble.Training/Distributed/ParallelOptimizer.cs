using Nibble.Kernels;
using Nibble.Kernels.Communication;
using Nibble.Modeling.Decoder;
using Nibble.Training.Configuration;
using Nibble.Training.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Distributed;

/// <summary>
/// The optimizer of a run of one or several processes. Gradients are summed over all of them; then each process updates every
/// parameter itself, or, with ZeRO (arXiv:1910.02054), its share: stage 1 shares out the optimizer's states and float32 masters, stage 2 the
/// summed gradients as well, stage 3 also the parameters that are computed with, of which no process ever has more than two units.
/// </summary>
internal sealed partial class ParallelOptimizer : IDisposable
{
    private readonly ICommunicator world;
    private readonly DecoderModel model;
    private readonly IReadOnlyList<Parameter> parameters;
    private readonly FlatLayout layout;
    private readonly ParameterUnits? units;
    private readonly SoloWork? solo;
    private readonly GradientReducer gradients;
    private readonly IReadOnlyList<Parameter> owned;
    private readonly AdamWOptimizer optimizer;
    private readonly OptimizerInBackward? inBackward;
    private readonly Dictionary<string, int> numbers;
    private readonly int stage;

    /// <exception cref="ArgumentException">As <see cref="AdamWOptimizer"/>; or a pattern of lr_groups matches no parameter.</exception>
    /// <exception cref="IOException">The disk has no space for the states.</exception>
    public ParallelOptimizer(RunConfig run, DecoderModel model, IReadOnlyList<Parameter> parameters, ICommunicator world)
    {
        this.world = world;
        this.model = model;
        this.parameters = parameters;
        TrainingSection settings = run.Training;
        stage = StageOf(run, world.Size);
        numbers = parameters.Index().ToDictionary(item => item.Item.Name, item => item.Index);
        new RateGroups(settings.LrGroups).Require(parameters); // Of a share, none may match.
        layout = new FlatLayout(
            [
                .. parameters.Select(parameter => new FlatParameter(
                    parameter.Value.NumberOfElements, model.UnitOf(parameter.Name), parameter.Value.dtype, stage < 3 || parameter.Value.NumberOfElements < settings.ParamPersistenceThreshold)),
            ],
            world.Size,
            settings.ReduceBucketSize);
        units = stage > 0 ? new ParameterUnits(run, model, parameters, layout, world) : null;
        solo = units is null ? null : new SoloWork(world, model, units, Whole);
        owned = units?.Parts ?? parameters;
        optimizer = new AdamWOptimizer(run, units is null
            ? [.. parameters.Select((parameter, number) => new Updated(parameter, number, 0))]
            : [.. units.Buckets.SelectMany(bucket => bucket.Slices).Select(item => new Updated(item.Part, item.Slice.Parameter, item.Slice.Start))]);
        inBackward = settings.OptimizerInBwd ? new OptimizerInBackward(optimizer) : null;
        gradients = new GradientReducer(
            world, layout, parameters, stage, settings.SyncEachBatch, settings.OverlapComm, units is null ? new Dictionary<Bucket, ShardedBucket>() : layout.Buckets.Zip(units.Buckets).ToDictionary(pair => pair.First, pair => pair.Second),
            inBackward is null ? null : inBackward.Update);
        model.UnitFinished = gradients.UnitFinished;
        model.UnitNeeded = stage == 3 ? Use : null;
    }

    /// <summary>ZeRO's stage of a run: of one process, only stage 3 has a meaning.</summary>
    public static int StageOf(RunConfig run, int processes) => processes > 1 || run.Training.ZeroStage == 3 ? run.Training.ZeroStage : 0;

    /// <summary>Frees the GPU memory that paged states hold between steps; false when there is none.</summary>
    public bool Release() => optimizer.Release();

    /// <summary>Whether gradients are there until <see cref="Step"/>, so that a pass that failed can be made again.</summary>
    public bool CanRepeat => inBackward is null;

    /// <summary>Begins a step.</summary>
    /// <param name="step">Counts from 1.</param>
    /// <param name="learningRate">The step's rate.</param>
    public void BeginStep(int step, double learningRate) => inBackward?.Begin(step, learningRate);

    /// <summary>
    /// Begins one of a step's passes, of which all processes make as many. During the last one, with ZeRO 2 and 3 during each, gradients are
    /// summed over all processes.
    /// </summary>
    public void BeginPass(bool last) => gradients.BeginPass(last);

    /// <summary>Ends a pass, which this process may have had no micro-batch for.</summary>
    public void EndPass() => gradients.EndPass();

    /// <summary>Takes part in a pass that others have a micro-batch for.</summary>
    public void IdlePass(bool training)
    {
        if (stage == 3)
        {
            foreach ((int unit, int? next, bool backward) in model.UnitsOfPass(training))
            {
                units!.Use(unit, next);
                if (backward)
                {
                    gradients.UnitFinished(unit);
                }
            }
        }
    }

    /// <summary>The global norm of the gradients.</summary>
    public double Norm()
    {
        using Profiler.Scope measured = Profiler.Operator("GradientNorm");
        using DisposeScope scope = NewDisposeScope();
        double squares = inBackward?.Squares ?? owned.Sum(parameter => parameter.Value.grad is { } gradient ? OptimizerInBackward.SquaresOf(gradient) : 0);
        return Math.Sqrt(stage > 0 ? world.Gather(squares).Sum(all => all[0]) : squares);
    }

    /// <summary>The first parameter whose gradient is not finite; null where only another process can tell.</summary>
    public string? NotFinite()
    {
        using DisposeScope scope = NewDisposeScope();
        return owned.FirstOrDefault(parameter => parameter.Value.grad is { } gradient && !gradient.isfinite().all().item<bool>())?.Name;
    }

    /// <summary>Updates all parameters that were not updated before, from their gradients, which it then drops.</summary>
    /// <param name="step">Counts from 1.</param>
    /// <param name="learningRate">The step's rate.</param>
    /// <param name="gradScale">Factor on the gradients.</param>
    public void Step(int step, double learningRate, double gradScale)
    {
        optimizer.Step(step, learningRate, gradScale, units is null ? null : units.Unload);
        units?.Refresh();
    }

    public void DropGradients()
    {
        gradients.Drop();
        foreach (Parameter parameter in parameters.Concat(owned))
        {
            parameter.Value.grad = null;
        }
    }

    public void Dispose()
    {
        model.UnitFinished = null;
        model.UnitNeeded = null;
        gradients.Drop();
        optimizer.Dispose();
        units?.Dispose();
    }

    private void Use(int unit, int? next)
    {
        if (unit == 0 && next == 1) // A pass begins, and no backward pass comes.
        {
            solo!.BeginPass();
        }

        units!.Use(unit, next);
    }
}
