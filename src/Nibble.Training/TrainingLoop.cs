using System.Diagnostics;
using Nibble.Kernels;
using Nibble.Kernels.Communication;
using Nibble.Modeling.Decoder;
using Nibble.Training.Batching;
using Nibble.Training.Checkpointing;
using Nibble.Training.Configuration;
using Nibble.Training.Distributed;
using Nibble.Training.Optimization;
using Nibble.Training.Reporting;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training;

/// <summary>The steps of a run: forward, backward, clip, update; with logging, evaluation and checkpoints between them.</summary>
internal sealed class TrainingLoop
{
    private readonly RunConfig config;
    private readonly DecoderModel model;
    private readonly BatchPlan plan;
    private readonly HeldOutSet evaluation;
    private readonly CheckpointStore store;
    private readonly ITrainingObserver observer;
    private readonly LearningRate rate;
    private readonly ICommunicator world;
    private readonly ParallelOptimizer optimizer;
    private readonly LossScale scale;
    private readonly StepProfiler? profiler;
    private readonly int batchesPerStep;
    private readonly int stepsPerEpoch;
    private TrainingState state = new();

    public TrainingLoop(
        RunConfig config, DecoderModel model, BatchPlan plan, HeldOutSet evaluation,
        CheckpointStore store, ITrainingObserver observer, StepProfiler? profiler, ICommunicator world, ParallelOptimizer optimizer)
    {
        this.config = config;
        this.model = model;
        this.plan = plan;
        this.evaluation = evaluation;
        this.store = store;
        this.observer = observer;
        this.profiler = profiler;
        this.world = world;
        batchesPerStep = config.Training.GradientAccumulationSteps * world.Size;
        stepsPerEpoch = (plan.BatchesPerEpoch + batchesPerStep - 1) / batchesPerStep;
        TotalSteps = config.Training.MaxSteps > 0 ? config.Training.MaxSteps : (int)Math.Ceiling(config.Training.NumTrainEpochs * stepsPerEpoch);
        rate = new LearningRate(config.Training, TotalSteps);
        this.optimizer = optimizer;
        scale = new LossScale(model.ComputeDType);
    }

    /// <summary>Steps of the whole run.</summary>
    public int TotalSteps { get; }

    /// <summary>Losses of the steps that were run here, in order.</summary>
    public List<(int Step, double Loss)> Losses { get; } = [];

    /// <summary>Evaluations that were run here, in order.</summary>
    public List<EvalMetrics> Evaluations { get; } = [];

    /// <summary>Where the run stands.</summary>
    public TrainingState State => state;

    /// <summary>Goes on from a checkpoint, which rank 0 reads for all.</summary>
    public void Resume(string? checkpoint)
    {
        state = optimizer.Restore(checkpoint);
        scale.Value = state.LossScale;
        scale.GoodSteps = state.LossScaleGoodSteps;
    }

    /// <summary>Runs to the end, or until any process is cancelled; a cancelled run saves a checkpoint before it throws.</summary>
    /// <param name="log">Where the numbers go; rank 0 has one.</param>
    /// <param name="cancellation">Cancels all processes.</param>
    public void Run(RunLog? log, CancellationToken cancellation)
    {
        var clock = new Stopwatch();
        long tokensAtLog = state.Tokens;
        while (state.Step < TotalSteps && !OutOfPatience)
        {
            store.Check();
            clock.Start();
            (double loss, double norm, double learningRate) = profiler is null ? Step() : profiler.Measure(Step);
            clock.Stop(); // Evaluating and saving are not training.
            Losses.Add((state.Step, loss));
            observer.Progress(state.Step, TotalSteps, loss);
            bool last = state.Step == TotalSteps;
            bool epochEnds = state.Step % stepsPerEpoch == 0 || last;
            if (state.Step % config.Training.LoggingSteps == 0 || last)
            {
                var metrics = new StepMetrics(
                    state.Step, Epoch, loss, learningRate, norm, state.Tokens, (state.Tokens - tokensAtLog) / clock.Elapsed.TotalSeconds, PeakMemory.Bytes);
                log?.Write(metrics);
                observer.Logged(metrics);
                clock.Reset();
                tokensAtLog = state.Tokens;
            }

            if (!evaluation.IsEmpty && IsDue(config.Training.EvalSteps, epochEnds))
            {
                EvaluateAndCompare(log);
            }

            bool cancelled = AnyCancelled(cancellation) && !last && !OutOfPatience; // A run that is through is better finished than left.
            if (IsDue(config.Training.SaveSteps, epochEnds) || cancelled)
            {
                optimizer.Save(state, store, log);
            }

            if (cancelled)
            {
                store.Wait();
                throw new OperationCanceledException(cancellation);
            }
        }

        store.Wait();
        if (OutOfPatience)
        {
            observer.Info($"Stopped early: no improvement in {config.Training.EarlyStoppingPatience} evaluations.");
        }

        if (config.Training.EarlyStoppingPatience > 0)
        {
            optimizer.RestoreBest(store);
        }

        optimizer.Release(); // What the trained model does next may need the memory that its pages hold.
    }

    private double Epoch => (double)state.Step / stepsPerEpoch;

    private bool OutOfPatience => config.Training.EarlyStoppingPatience > 0 && state.EvaluationsWithoutImprovement >= config.Training.EarlyStoppingPatience;

    /// <summary>Signals come at different times to the processes, which must end after the same step.</summary>
    private bool AnyCancelled(CancellationToken cancellation) =>
        world.Gather(cancellation.IsCancellationRequested ? 1 : 0).Any(rank => rank[0] > 0);

    private bool IsDue(int every, bool epochEnds) => every > 0 ? state.Step % every == 0 : epochEnds;

    private (double Loss, double Norm, double Rate) Step()
    {
        (int epoch, int inEpoch) = (state.Step / stepsPerEpoch, state.Step % stepsPerEpoch);
        int first = inEpoch * batchesPerStep;
        int count = Math.Min(batchesPerStep, plan.BatchesPerEpoch - first);
        List<TokenBatch> batches = [.. Enumerable.Range(first, count).Select(index => plan.Batch(epoch, index))];
        long targets = batches.Sum(batch => batch.ShiftedLabels().LongCount(label => label >= 0));
        int step = state.Step + 1;
        double learningRate = rate.At(step);
        using DisposeScope scope = NewDisposeScope();
        optimizer.BeginStep(state.Updates + 1, learningRate);
        double loss;
        try
        {
            loss = Accumulate(batches, targets);
        }
        catch (Exception exception) when (ComputeDevice.MeansOutOfMemory(exception) && optimizer.CanRepeat && optimizer.Release())
        {
            // The optimizer's pages take what memory is left after a step; a step that needs more has it back.
            optimizer.DropGradients();
            loss = Accumulate(batches, targets);
        }

        using Profiler.Scope update = Profiler.Pass("update");
        double norm = optimizer.Norm() / scale.Value;
        double before = scale.Value;
        if (!double.IsFinite(loss) || (!double.IsFinite(norm) && scale.IsLowest))
        {
            throw new TrainingDivergedException(step, double.IsFinite(loss) ? $"gradient of {optimizer.NotFinite() ?? "another process's share"}" : "loss");
        }

        state = state with { Step = step };
        if (scale.Accept(double.IsFinite(norm)))
        {
            state = state with { Updates = state.Updates + 1 };
            double clip = config.Training.MaxGradNorm > 0 ? Math.Min(1, config.Training.MaxGradNorm / (norm + 1e-6)) : 1;
            optimizer.Step(state.Updates, learningRate, clip / before);
        }
        else
        {
            optimizer.DropGradients();
            observer.Info($"Step {step} is skipped, for its float16 gradients overflow; the loss scale is {scale.Value} from now on.");
        }

        state = state with { LossScale = scale.Value, LossScaleGoodSteps = scale.GoodSteps };
        return (loss, norm, learningRate);
    }

    /// <summary>
    /// Adds the gradients of all micro-batches, of which every <c>Size</c>-th is this process's, and returns their loss. A pass has the
    /// number, and with it the dropout masks, that it would have in a run of one process.
    /// </summary>
    private double Accumulate(List<TokenBatch> batches, long targets)
    {
        double loss = 0;
        for (int first = 0; first < batches.Count; first += world.Size)
        {
            int own = first + world.Rank;
            optimizer.BeginPass(last: first + world.Size >= batches.Count);
            if (own < batches.Count)
            {
                loss += ForwardAndBackward(batches[own], targets, state.Passes + own);
            }
            else
            {
                optimizer.IdlePass(training: true);
            }

            optimizer.EndPass();
        }

        state = state with { Passes = state.Passes + batches.Count, Tokens = state.Tokens + batches.Sum(batch => (long)batch.InputIds.Length) };
        return world.Gather(loss).Sum(rank => rank[0]);
    }

    private double ForwardAndBackward(TokenBatch batch, long targets, long number)
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor mean = Forward(batch, targets, number);
        double loss = mean.item<float>();
        using Profiler.Scope pass = Profiler.Pass("backward");
        using Scalar factor = scale.Value; // Named, or the collector may free it while libtorch reads it.
        BackwardPass.Run(mean * factor);
        return loss;
    }

    private Tensor Forward(TokenBatch batch, long targets, long number)
    {
        using Profiler.Scope pass = Profiler.Pass("forward");
        using Scalar count = Math.Max(1, targets);
        return model.TokenLosses(batch, new DropoutState(config.Seed, (uint)number)).sum() / count;
    }

    /// <summary>Evaluates, and keeps the best weights.</summary>
    private void EvaluateAndCompare(RunLog? log)
    {
        optimizer.Release(); // Evaluation batches may need the memory that its pages hold.
        EvalMetrics metrics = evaluation.Evaluate(state.Step, Epoch);
        if (!double.IsFinite(metrics.EvalLoss))
        {
            throw new TrainingDivergedException(state.Step, "evaluation loss");
        }

        log?.Write(metrics);
        Evaluations.Add(metrics);
        observer.Evaluated(metrics);
        if (Overfitting.Between(Losses, Evaluations) is { } warning)
        {
            observer.Info(warning);
        }

        double badness = world.Gather(evaluation.Badness(metrics))[0][0]; // Rank 0 has the answers.
        bool better = state.BestEvaluation is not { } best || badness < best;
        state = state with
        {
            BestEvaluation = better ? badness : state.BestEvaluation,
            EvaluationsWithoutImprovement = better ? 0 : state.EvaluationsWithoutImprovement + 1,
        };
        if (better)
        {
            optimizer.SaveBest(store);
        }
    }
}
