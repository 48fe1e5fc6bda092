using System.Text.Json;
using Nibble.Kernels;
using Nibble.Kernels.Communication;
using Nibble.Modeling.Decoder;
using Nibble.Training.Checkpointing;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Distributed;

/// <summary>Checkpoints are those of one process, whoever keeps which states.</summary>
internal sealed partial class ParallelOptimizer
{
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
