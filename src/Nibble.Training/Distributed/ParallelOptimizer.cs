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
/// parameter itself, or, with ZeRO (arXiv:1910.02054), the share whose states it keeps: stage 1 shares out the states, stage 2 the
/// summed gradients as well. Updated shares are gathered, so that between steps all processes have the same parameters.
/// </summary>
internal sealed partial class ParallelOptimizer : IDisposable
{
    /// <summary>Kept, because the collector may free a scalar that nobody holds while libtorch reads it.</summary>
    private static readonly Scalar One = 1;

    private readonly ICommunicator world;
    private readonly IReadOnlyList<Parameter> parameters;
    private readonly FlatLayout layout;
    private readonly int stage;
    private readonly Dictionary<int, Parameter> shares = [];
    private readonly IReadOnlyList<Parameter> owned;
    private readonly AdamWOptimizer optimizer;
    private Queue<FlatLayout.Bucket> unsent = [];
    private Action receive = Nothing;

    /// <exception cref="ArgumentException">States are to lie on the disk, and parameters on a GPU; or a pattern of lr_groups matches no parameter.</exception>
    /// <exception cref="IOException">The disk has no space for the states.</exception>
    public ParallelOptimizer(RunConfig run, IReadOnlyList<Parameter> parameters, ICommunicator world)
    {
        this.world = world;
        this.parameters = parameters;
        new RateGroups(run.Training.LrGroups).Require(parameters); // Of a share, none may match.
        layout = new FlatLayout([.. parameters.Select(parameter => (parameter.Name, parameter.Value.NumberOfElements))], world.Size);
        stage = world.Size > 1 ? run.Training.ZeroStage : 0;
        if (stage > 0)
        {
            foreach (Slice slice in layout.Buckets.SelectMany(bucket => layout.SlicesOf(bucket, world.Rank)))
            {
                Parameter whole = parameters[slice.Parameter];
                using DisposeScope scope = NewDisposeScope();
                Tensor part = whole.Value.detach().view(-1).narrow(0, slice.Start, slice.Count).DetachFromDisposeScope();
                shares.Add(slice.Parameter, whole with { Value = part });
            }
        }

        owned = stage > 0 ? [.. shares.Values] : parameters;
        optimizer = new AdamWOptimizer(run, owned);
    }

    /// <summary>Frees the GPU memory that paged states hold between steps; false when there is none.</summary>
    public bool Release() => optimizer.Release();

    /// <summary>
    /// Begins one of a step's passes, of which all processes make as many. During the last one, with ZeRO 2 during each, gradients are summed
    /// over all processes: a bucket is under way while the backward pass goes on, and with ZeRO 2 its gradients do not outlast it.
    /// </summary>
    public void BeginPass(bool last)
    {
        if (world.Size > 1 && (last || stage == 2))
        {
            unsent = new Queue<FlatLayout.Bucket>(layout.Buckets.OrderByDescending(bucket => bucket.Layer));
        }
    }

    /// <summary>Sends the gradients that are complete when a layer's backward pass is through.</summary>
    public void LayerFinished(int layer)
    {
        while (unsent.TryPeek(out FlatLayout.Bucket? bucket) && bucket.Layer >= layer)
        {
            Send(unsent.Dequeue());
        }
    }

    /// <summary>Ends a pass, which this process may have had no micro-batch for.</summary>
    public void EndPass()
    {
        LayerFinished(FlatLayout.NoLayer);
        receive();
        receive = Nothing;
    }

    /// <summary>The global norm of the gradients.</summary>
    public double Norm()
    {
        using Profiler.Scope measured = Profiler.Operator("GradientNorm");
        using DisposeScope scope = NewDisposeScope();
        double squares = 0;
        foreach (Parameter parameter in owned)
        {
            if (parameter.Value.grad is { } gradient)
            {
                double norm = gradient.norm().item<float>();
                squares += norm * norm;
            }
        }

        return Math.Sqrt(stage > 0 ? world.Gather(squares).Sum(all => all[0]) : squares);
    }

    /// <summary>The first parameter whose gradient is not finite; null where only another process can tell.</summary>
    public string? NotFinite()
    {
        using DisposeScope scope = NewDisposeScope();
        return owned.FirstOrDefault(parameter => parameter.Value.grad is { } gradient && !gradient.isfinite().all().item<bool>())?.Name;
    }

    /// <summary>Updates all parameters from their gradients, which it then drops.</summary>
    /// <param name="step">Counts from 1.</param>
    /// <param name="learningRate">The step's rate.</param>
    /// <param name="gradScale">Factor on the gradients.</param>
    public void Step(int step, double learningRate, double gradScale)
    {
        optimizer.Step(step, learningRate, gradScale);
        if (stage > 0)
        {
            GatherParameters();
        }
    }

    public void DropGradients()
    {
        foreach (Parameter parameter in parameters.Concat(shares.Values))
        {
            parameter.Value.grad = null;
        }
    }

    public void Dispose()
    {
        optimizer.Dispose();
        foreach (Parameter share in shares.Values)
        {
            share.Value.Dispose();
        }
    }

    private static void Nothing()
    {
    }

    /// <summary>Starts to sum a bucket over all processes, then takes in the one before it.</summary>
    private void Send(FlatLayout.Bucket bucket)
    {
        using Profiler.Scope measured = Profiler.Operator("GradientReduction");
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Tensor flat = Flatten(bucket).DetachFromDisposeScope();
        long[] counts = layout.Shares(bucket);
        Tensor share = (stage == 2 ? empty(counts[world.Rank]) : flat.narrow(0, counts.Take(world.Rank).Sum(), counts[world.Rank])).DetachFromDisposeScope();
        ICollective pending = stage == 2 ? world.ReduceScatter(flat, counts, share) : world.AllReduce(flat);
        receive();
        receive = () =>
        {
            pending.Wait();
            GiveGradients(bucket, flat, share);
            share.Dispose();
            flat.Dispose();
        };
    }

    /// <summary>The gradients of a bucket's parameters end to end, taken from them; zero for one that has none on this process.</summary>
    private Tensor Flatten(FlatLayout.Bucket bucket)
    {
        Tensor flat = zeros(bucket.Length);
        foreach ((int parameter, long offset, long count) in bucket.Places)
        {
            Tensor value = parameters[parameter].Value;
            using Tensor? gradient = value.grad;
            if (gradient is not null)
            {
                using Tensor place = flat.narrow(0, offset, count);
                using Tensor flatGradient = gradient.reshape(-1);
                place.copy_(flatGradient);
                value.grad = null;
            }
        }

        return flat;
    }

    private void GiveGradients(FlatLayout.Bucket bucket, Tensor flat, Tensor share)
    {
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        if (stage == 0)
        {
            foreach ((int parameter, long offset, long count) in bucket.Places)
            {
                Tensor value = parameters[parameter].Value;
                value.grad = flat.narrow(0, offset, count).view(value.shape);
            }

            return;
        }

        foreach (Slice slice in layout.SlicesOf(bucket, world.Rank))
        {
            Tensor owner = shares[slice.Parameter].Value;
            Tensor part = share.narrow(0, slice.InShare, slice.Count);
            owner.grad = owner.grad is { } earlier ? earlier.add_(part, One) : part;
        }
    }

    private void GatherParameters()
    {
        using Profiler.Scope measured = Profiler.Operator("ParameterGathering");
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Action complete = () => { };
        foreach (FlatLayout.Bucket bucket in layout.Buckets)
        {
            long[] counts = layout.Shares(bucket);
            Tensor share = zeros(counts[world.Rank]);
            foreach (Slice slice in layout.SlicesOf(bucket, world.Rank))
            {
                share.narrow(0, slice.InShare, slice.Count).copy_(shares[slice.Parameter].Value);
            }

            Tensor flat = empty(bucket.Length);
            ICollective pending = world.AllGather(share, counts, flat);
            complete();
            complete = () =>
            {
                pending.Wait();
                foreach ((int parameter, long offset, long count) in bucket.Places)
                {
                    Tensor value = parameters[parameter].Value;
                    value.copy_(flat.narrow(0, offset, count).view(value.shape));
                }

                share.Dispose();
                flat.Dispose();
            };
        }

        complete();
    }
}
