using System.Text.Json;
using Nibble.Kernels;
using Nibble.Kernels.Communication;
using Nibble.Modeling.Decoder;
using Nibble.Training.Checkpointing;
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
internal sealed class ParallelOptimizer : IDisposable
{
    private readonly ICommunicator world;
    private readonly IReadOnlyList<Parameter> parameters;
    private readonly FlatLayout layout;
    private readonly int stage;
    private readonly Dictionary<int, Parameter> shares = [];
    private readonly IReadOnlyList<Parameter> owned;
    private readonly AdamWOptimizer optimizer;

    /// <exception cref="ArgumentException">States are to lie on the disk, and parameters on a GPU; or a pattern of lr_groups matches no parameter.</exception>
    /// <exception cref="IOException">The disk has no space for the states.</exception>
    public ParallelOptimizer(RunConfig run, IReadOnlyList<Parameter> parameters, ICommunicator world)
    {
        this.world = world;
        this.parameters = parameters;
        new RateGroups(run.Training.LrGroups).Require(parameters); // Of a share, none may match.
        layout = new FlatLayout([.. parameters.Select(parameter => parameter.Value.NumberOfElements)], world.Size);
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

    /// <summary>Makes the gradients those of all processes, each bucket under way while the next is laid out.</summary>
    public void Reduce()
    {
        if (world.Size == 1)
        {
            return;
        }

        using Profiler.Scope measured = Profiler.Operator("GradientReduction");
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        Action complete = () => { };
        foreach (FlatLayout.Bucket bucket in layout.Buckets)
        {
            Tensor flat = Flatten(bucket);
            long[] counts = layout.Shares(bucket);
            Tensor share = stage == 2 ? empty(counts[world.Rank]) : flat.narrow(0, counts.Take(world.Rank).Sum(), counts[world.Rank]);
            ICollective pending = stage == 2 ? world.ReduceScatter(flat, counts, share) : world.AllReduce(flat);
            complete();
            complete = () =>
            {
                pending.Wait();
                GiveGradients(bucket, flat, share);
                share.Dispose();
                flat.Dispose();
            };
        }

        complete();
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

    /// <summary>Hands all states by name, as one process would have them, to rank 0's writer; every process takes part.</summary>
    public void WithStates(Action<IReadOnlyDictionary<string, Tensor>> write)
    {
        if (stage == 0)
        {
            if (world.Rank == 0)
            {
                write(optimizer.States);
            }

            return;
        }

        using DisposeScope scope = NewDisposeScope();
        var whole = new Dictionary<string, Tensor>();
        foreach ((string name, int parameter, Tensor state) in WholeStates())
        {
            Tensor share = optimizer.States.TryGetValue(name, out Tensor? own) ? own.view(-1) : empty(0, state.dtype);
            world.AllGather(share, CountsOf(parameter, state), state.view(-1)).Wait();
            if (world.Rank == 0)
            {
                whole.Add(name, state);
            }
            else
            {
                state.Dispose();
            }
        }

        if (world.Rank == 0)
        {
            write(whole);
        }
    }

    /// <summary>Puts rank 0's checkpoint into the parameters and states of all processes, however many wrote it.</summary>
    /// <param name="folder">The checkpoint; rank 0 reads it.</param>
    /// <exception cref="InvalidDataException">The checkpoint is damaged.</exception>
    public TrainingState Restore(string? folder)
    {
        using DisposeScope scope = NewDisposeScope();
        IReadOnlyDictionary<string, Tensor> states = stage == 0 ? optimizer.States
            : world.Rank == 0 ? WholeStates().ToDictionary(item => item.Name, item => item.State)
            : new Dictionary<string, Tensor>();
        TrainingState read = world.Rank == 0 ? CheckpointStore.Restore(folder!, parameters, states) : new TrainingState();
        if (world.Size > 1)
        {
            foreach (Parameter parameter in parameters)
            {
                world.Broadcast(parameter.Value).Wait();
            }

            foreach ((string name, int parameter, Tensor state) in WholeStates())
            {
                Tensor whole = states.GetValueOrDefault(name, state);
                world.Broadcast(whole).Wait();
                if (stage > 0 && optimizer.States.TryGetValue(name, out Tensor? own))
                {
                    own.view(-1).copy_(whole.view(-1).narrow(0, CountsOf(parameter, state).Take(world.Rank).Sum(), own.NumberOfElements));
                }

                state.Dispose();
            }
        }

        return JsonSerializer.Deserialize<TrainingState>(world.BroadcastBytes(JsonSerializer.SerializeToUtf8Bytes(read)))!;
    }

    public void Dispose()
    {
        optimizer.Dispose();
        foreach (Parameter share in shares.Values)
        {
            share.Value.Dispose();
        }
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
            shares[slice.Parameter].Value.grad = share.narrow(0, slice.InShare, slice.Count);
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

    /// <summary>Every state of every parameter, of its size in one process and not yet filled, made when its turn comes.</summary>
    private IEnumerable<(string Name, int Parameter, Tensor State)> WholeStates()
    {
        for (int i = 0; i < parameters.Count; i++)
        {
            foreach ((string name, Tensor state) in optimizer.ZeroStates(parameters[i]))
            {
                yield return (name, i, state);
            }
        }
    }

    /// <summary>How much of a parameter's state each rank has: an element for each of its own, or for each block of them.</summary>
    private long[] CountsOf(int parameter, Tensor state)
    {
        FlatLayout.Bucket bucket = layout.Buckets.First(bucket => bucket.Places[^1].Parameter >= parameter);
        bool each = state.NumberOfElements == parameters[parameter].Value.NumberOfElements;
        return
        [
            .. Enumerable.Range(0, world.Size)
                .Select(rank => layout.SlicesOf(bucket, rank).FirstOrDefault(slice => slice.Parameter == parameter).Count)
                .Select(count => each ? count : (count + AdamW.StateBlock - 1) / AdamW.StateBlock),
        ];
    }
}
