using Nibble.Kernels;
using Nibble.Kernels.Communication;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Training.Configuration;
using Nibble.Training.Optimization;
using static TorchSharp.torch;

namespace Nibble.Training.Distributed;

/// <summary>
/// A model's parameters in shares of all ranks. Those that do not stay (ZeRO 3) are gathered unit by unit when the model needs them, the
/// next unit while it computes with this one, and go when it is done with them.
/// </summary>
internal sealed class ParameterUnits : IDisposable
{
    private readonly bool overlaps;
    private readonly long prefetched;
    private readonly MappedFile? file;
    private readonly List<ShardedBucket> buckets = [];
    private readonly ILookup<int, ShardedBucket> comers;

    /// <param name="run">Where shares lie, and how much of the next unit is gathered ahead.</param>
    /// <param name="model">The model; what of it was deferred gets its values now, share by share.</param>
    /// <param name="parameters">Those of the layout.</param>
    /// <param name="layout">Where they lie.</param>
    /// <param name="world">The processes.</param>
    /// <exception cref="IOException">The disk has no space for the shares.</exception>
    public ParameterUnits(RunConfig run, DecoderModel model, IReadOnlyList<Parameter> parameters, FlatLayout layout, ICommunicator world)
    {
        overlaps = run.Training.OverlapComm;
        bool masters = !run.Training.Bf16StochasticRound;
        prefetched = overlaps ? run.Training.PrefetchBucketSize : 0;
        Device home = run.Training.OffloadParameters == OffloadDevice.None ? world.Device : CPU;
        file = run.Training.OffloadParameters == OffloadDevice.Disk
            ? new MappedFile(run.OutputDir, layout.Buckets.Where(bucket => !bucket.Stays)
                .Sum(bucket => MappedFile.Rounded(DTypeNames.Bytes(ShardedBucket.ShareDTypeOf(bucket, masters)) * layout.Shares(bucket)[world.Rank])))
            : null;
        using CheckpointTensors checkpoint = CheckpointTensors.Open(run.Model);
        foreach (Bucket bucket in layout.Buckets)
        {
            var read = new List<string>();
            buckets.Add(new ShardedBucket(
                world, layout, bucket, parameters, masters, home, (count, dtype) => bucket.Stays || file is null ? InMemory(count, dtype) : file.Add([count], dtype),
                parameter =>
                {
                    read.Add(parameter.Name);
                    return ModelLoader.ReadDeferred(checkpoint, model, parameter);
                }));
            read.ForEach(checkpoint.Release); // What was a view of the model's file has been copied.
            file?.Release();
        }

        comers = buckets.Where(bucket => !bucket.Stays).ToLookup(bucket => bucket.Unit);

        Tensor InMemory(long count, ScalarType dtype)
        {
            Tensor share = zeros(count, dtype, home);
            return home.type == world.Device.type ? share : share.pin_memory(); // The GPU copies from it and to it.
        }
    }

    /// <summary>The buckets, in the layout's order.</summary>
    public IReadOnlyList<ShardedBucket> Buckets => buckets;

    /// <summary>The parts of parameters that this rank keeps and updates.</summary>
    public IReadOnlyList<Parameter> Parts => [.. buckets.SelectMany(bucket => bucket.Slices).Select(item => item.Part)];

    /// <summary>Gives the parameters of a unit their values, and takes those of all others but the next.</summary>
    public void Use(int unit, int? next)
    {
        foreach (ShardedBucket bucket in comers.Where(group => group.Key != unit && group.Key != next).SelectMany(group => group))
        {
            bucket.Vacate();
        }

        using (Profiler.Scope measured = Profiler.Operator("ParameterGathering"))
        {
            foreach (ShardedBucket bucket in comers[unit])
            {
                bucket.Finish();
            }
        }

        if (next is { } following && comers[following].Sum(bucket => bucket.Length) <= prefetched)
        {
            foreach (ShardedBucket bucket in comers[following])
            {
                bucket.Start();
            }
        }

        file?.Release();
    }

    /// <summary>Takes shares that lie on the disk out of this process's memory.</summary>
    public void Unload() => file?.Release();

    /// <summary>Tells all ranks what has become of the shares: at once of what stays, of the rest when it is used.</summary>
    public void Refresh()
    {
        using Profiler.Scope measured = Profiler.Operator("ParameterGathering");
        ShardedBucket? before = null;
        foreach (ShardedBucket bucket in buckets)
        {
            bucket.Vacate();
            if (bucket.Stays)
            {
                bucket.Start();
                before?.Finish();
                before = bucket;
                if (!overlaps)
                {
                    bucket.Finish();
                    before = null;
                }
            }
        }

        before?.Finish();
        file?.Release();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        buckets.ForEach(bucket => bucket.Dispose());
        file?.Dispose();
    }
}
