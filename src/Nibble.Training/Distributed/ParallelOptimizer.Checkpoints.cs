using System.Text;
using System.Text.Json;
using Nibble.Kernels.Communication;
using Nibble.Modeling.Checkpoints;
using Nibble.Training.Checkpointing;
using Nibble.Training.Reporting;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Distributed;

/// <summary>What is written and read of a model and of states that are shared out: by every process its share, whole ones by rank 0.</summary>
internal sealed partial class ParallelOptimizer
{
    /// <summary>Writes a checkpoint; every process takes part.</summary>
    public void Save(TrainingState state, CheckpointStore store, RunLog? log)
    {
        if (units is not null)
        {
            store.Save(state, Parts, optimizer.States, WhoHasWhat, log);
        }
        else if (world.Rank == 0)
        {
            store.Save(state, parameters, optimizer.States, log!);
        }
    }

    /// <summary>Keeps the weights as the best; every process takes part.</summary>
    public void SaveBest(CheckpointStore store)
    {
        if (units is not null)
        {
            store.SaveBest(Parts, WhoHasWhat);
        }
        else if (world.Rank == 0)
        {
            store.SaveBest(parameters);
        }
    }

    /// <summary>Puts the best weights back, into the shares of all processes or, where there are none, on rank 0, which writes them.</summary>
    public void RestoreBest(CheckpointStore store)
    {
        if (units is not null)
        {
            world.Barrier().Wait(); // Rank 0 has written the index by then.
            store.RestoreBest(Parts);
            units.Refresh();
        }
        else if (world.Rank == 0)
        {
            store.RestoreBest(parameters);
        }
    }

    /// <summary>Puts rank 0's checkpoint into the parameters and states of all processes, however many wrote it.</summary>
    /// <param name="folder">The checkpoint; rank 0 names it, and reads it for all unless each has shares.</param>
    /// <exception cref="InvalidDataException">The checkpoint is damaged.</exception>
    public TrainingState Restore(string? folder)
    {
        using DisposeScope scope = NewDisposeScope();
        if (units is not null)
        {
            TrainingState own = CheckpointStore.Restore(Encoding.UTF8.GetString(world.BroadcastBytes(Encoding.UTF8.GetBytes(folder ?? ""))), Parts, optimizer.States);
            units.Refresh();
            return own;
        }

        TrainingState read = world.Rank == 0 ? CheckpointStore.Restore(folder!, parameters, optimizer.States) : new TrainingState();
        foreach (Tensor value in parameters.Select(parameter => parameter.Value).Concat(optimizer.States.Values))
        {
            world.Broadcast(value).Wait();
        }

        return JsonSerializer.Deserialize<TrainingState>(world.BroadcastBytes(JsonSerializer.SerializeToUtf8Bytes(read)))!;
    }

    /// <summary>Does work that needs the whole model on rank 0, where its result is returned; every process takes part.</summary>
    public T? Alone<T>(Func<T> work) => solo is not null ? solo.Do(work) : world.Rank == 0 ? work() : default;

    /// <summary>Within <see cref="Alone"/>: a weight with the values of the shares, if it has such, collected when it is written.</summary>
    public TensorToWrite Collected(TensorToWrite weight)
    {
        int number = solo is null ? -1 : numbers.GetValueOrDefault(weight.Name, -1);
        return number < 0 ? weight : weight with
        {
            Make = () =>
            {
                using Tensor whole = solo!.Whole(number);
                return whole.to(weight.DType);
            },
        };
    }

    /// <summary>Collects a parameter from the shares of all ranks, in their dtype.</summary>
    private Tensor Whole(int number)
    {
        using DisposeScope scope = NewDisposeScope();
        (Bucket bucket, ShardedBucket shares) = layout.Buckets.Zip(units!.Buckets).First(pair => pair.First.Places.Any(place => place.Parameter == number));
        ScalarType dtype = shares.ShareDType;
        long[] counts = [.. Enumerable.Range(0, world.Size).Select(rank => layout.SlicesOf(bucket, rank).FirstOrDefault(slice => slice.Parameter == number).Count)];
        Tensor own = shares.Slices.FirstOrDefault(item => item.Slice.Parameter == number && item.Part is not null).Part?.Value ?? empty(0, dtype, world.Device);
        Tensor whole = empty(counts.Sum(), dtype, world.Device);
        world.AllGather(own, counts, whole).Wait();
        return whole.view(parameters[number].Value.shape).MoveToOuterDisposeScope();
    }

    private IReadOnlyList<ParameterPart> Parts => [.. units!.Buckets.SelectMany(bucket => bucket.Slices)
        .Select(item => new ParameterPart(item.Part.Name, item.Part.Value, item.Slice.Start, parameters[item.Slice.Parameter].Value.NumberOfElements))];

    private Dictionary<string, IReadOnlyList<ShardIndex.Part>> WhoHasWhat => layout.Buckets
        .SelectMany(bucket => Enumerable.Range(0, world.Size).SelectMany(rank => layout.SlicesOf(bucket, rank).Select(slice => (Rank: rank, Slice: slice))))
        .GroupBy(item => parameters[item.Slice.Parameter].Name)
        .ToDictionary(group => group.Key, IReadOnlyList<ShardIndex.Part> (group) => [.. group.Select(item => new ShardIndex.Part(item.Rank, item.Slice.Start, item.Slice.Count))]);
}
