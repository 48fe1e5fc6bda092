using Nibble.Kernels.Communication;
using Nibble.Modeling.Decoder;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Distributed;

/// <summary>
/// A bucket of which this rank keeps a share, in float32 or, without masters, in the dtype of computation, that its optimizer updates where it lies:
/// on the device that computes, or on the host. The parameters are views of one tensor of all ranks' shares in the dtype of computation, which stays, or
/// comes when it is gathered and goes when it is vacated.
/// </summary>
internal sealed class ShardedBucket : IDisposable
{
    private readonly ICommunicator world;
    private readonly Bucket bucket;
    private readonly IReadOnlyList<Parameter> parameters;
    private readonly long[] counts;
    private readonly Tensor share;
    private Tensor? whole;
    private Gathering? gathering;

    /// <summary>Takes over parameters that have their values, as ever, or are placeholders of values that <paramref name="read"/> gives.</summary>
    /// <param name="world">The processes.</param>
    /// <param name="layout">Where the parameters lie.</param>
    /// <param name="bucket">One of its buckets.</param>
    /// <param name="parameters">All parameters of the layout.</param>
    /// <param name="masters">Whether the share is in float32 whatever the dtype of computation.</param>
    /// <param name="home">Where the share lies.</param>
    /// <param name="allocate">Makes a share of so many zeros there.</param>
    /// <param name="read">The values of a placeholder.</param>
    public ShardedBucket(
        ICommunicator world, FlatLayout layout, Bucket bucket, IReadOnlyList<Parameter> parameters, bool masters,
        Device home, Func<long, ScalarType, Tensor> allocate, Func<Parameter, Tensor> read)
    {
        this.world = world;
        this.bucket = bucket;
        this.parameters = parameters;
        counts = layout.Shares(bucket);
        long own = counts[world.Rank];
        using IDisposable noGrad = no_grad();
        using DisposeScope scope = NewDisposeScope();
        if (bucket.Stays)
        {
            whole = zeros(bucket.Length, bucket.DType, world.Device).DetachFromDisposeScope();
            foreach ((int number, long offset, long count) in bucket.Places)
            {
                using Tensor values = Values(parameters[number], read);
                whole.narrow(0, offset, count).copy_(values.view(-1));
                Lend(number, offset, count);
            }
        }

        // What stays where the share lies, in its own dtype, has it among the rest.
        ShareDType = ShareDTypeOf(bucket, masters);
        share = (whole?.dtype == ShareDType && whole.device_type == home.type ? whole.narrow(0, counts.Take(world.Rank).Sum(), own) : allocate(own, ShareDType)).DetachFromDisposeScope();
        Slices = [.. layout.SlicesOf(bucket, world.Rank).Select(slice => (slice, parameters[slice.Parameter] with
        {
            Value = share.narrow(0, slice.InShare, slice.Count).DetachFromDisposeScope(),
        }))];
        foreach ((Slice slice, Parameter part) in Slices)
        {
            using Tensor values = Values(parameters[slice.Parameter], read);
            part.Value.copy_(values.view(-1).narrow(0, slice.Start, slice.Count));
        }
    }

    /// <summary>In which shares of a bucket are kept.</summary>
    public static ScalarType ShareDTypeOf(Bucket bucket, bool masters) => masters ? ScalarType.Float32 : bucket.DType;

    /// <summary>Where the share lies.</summary>
    public Device Home => share.device;

    /// <summary>In which the share is kept.</summary>
    public ScalarType ShareDType { get; }

    /// <summary>The parts of parameters that this rank keeps and updates, <c>[Count]</c> each.</summary>
    public IReadOnlyList<(Slice Slice, Parameter Part)> Slices { get; }

    /// <summary>The unit of the model, of which all of a bucket that does not stay is.</summary>
    public int Unit => bucket.Unit;

    /// <summary>Whether the parameters always have their values.</summary>
    public bool Stays => bucket.Stays;

    /// <summary>Elements of all ranks.</summary>
    public long Length => bucket.Length;

    /// <summary>Starts to collect the shares of all ranks, unless that is done or under way.</summary>
    public void Start()
    {
        if (gathering is null && (whole is null || bucket.Stays))
        {
            using IDisposable noGrad = no_grad();
            // A copy where the share lies in what is gathered, or is of another dtype or on another device.
            Tensor sent = share.to(bucket.DType, world.Device, copy: bucket.Stays || bucket.DType != share.dtype).DetachFromDisposeScope();
            whole ??= empty(bucket.Length, bucket.DType, world.Device).DetachFromDisposeScope();
            gathering = new Gathering(sent, world.AllGather(sent, counts, whole));
        }
    }

    /// <summary>Makes sure that the parameters have their values.</summary>
    public void Finish()
    {
        Start();
        if (gathering is { } started)
        {
            gathering = null;
            started.Pending.Wait();
            started.Sent.Dispose();
            foreach ((int number, long offset, long count) in bucket.Places)
            {
                Lend(number, offset, count);
            }
        }
    }

    /// <summary>Takes the parameters' values, unless they stay.</summary>
    public void Vacate()
    {
        if (!bucket.Stays && whole is not null && gathering is null)
        {
            foreach ((int number, _, _) in bucket.Places)
            {
                Placeholder.Vacate(parameters[number].Value);
            }

            whole.Dispose();
            whole = null;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach ((_, Parameter part) in Slices)
        {
            part.Value.Dispose();
        }

        share.Dispose();
        whole?.Dispose();
    }

    private static Tensor Values(Parameter parameter, Func<Parameter, Tensor> read) =>
        parameter.Value.is_contiguous() ? parameter.Value.detach() : read(parameter);

    private void Lend(int number, long offset, long count)
    {
        Tensor parameter = parameters[number].Value;
        using Tensor flat = whole!.narrow(0, offset, count);
        using Tensor values = flat.view(parameter.shape);
        Placeholder.Fill(parameter, values);
    }

    private sealed record Gathering(Tensor Sent, ICollective Pending);
}
