using Nibble.Kernels.Cuda;
using Nibble.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels.Communication;

/// <summary>
/// Processes with a GPU each, over NCCL. Operations are queued on libtorch's stream, behind what computes their tensors. Tensors of the
/// host go by way of the GPU; bfloat16 is summed as float32, because NCCL would round after every rank.
/// </summary>
internal sealed class NcclCommunicator : NativeCommunicator
{
    /// <summary>Within this the others notice a failure as well and come to find out who is gone.</summary>
    private static readonly TimeSpan RollCall = TimeSpan.FromSeconds(5);

    private readonly IMeeting meeting;

    /// <summary>Joins the other processes, which meet first to hand out NCCL's id.</summary>
    /// <param name="meeting">All processes.</param>
    /// <param name="device">This process's GPU; the CPU for NCCL's emulation, whose memory is the host's.</param>
    /// <exception cref="IOException">NCCL cannot be loaded, or the processes do not find each other; the message says why.</exception>
    public NcclCommunicator(IMeeting meeting, Device device)
        : base(Joined(meeting, device))
    {
        this.meeting = meeting;
        Device = device;
    }

    /// <inheritdoc/>
    public override Device Device { get; }

    /// <inheritdoc/>
    public override void Leave()
    {
        base.Leave();
        meeting.Leave();
    }

    /// <inheritdoc/>
    public override void Abort(int code)
    {
        base.Abort(code);
        meeting.Abort(code);
    }

    /// <inheritdoc/>
    public override ICollective AllReduce(Tensor values)
    {
        Tensor sums = Here(values, ScalarType.Float32);
        return After(base.AllReduce(sums), new Transfer(sums, values, Received.Values));
    }

    /// <inheritdoc/>
    public override ICollective ReduceScatter(Tensor values, IReadOnlyList<long> counts, Tensor share)
    {
        Tensor terms = Here(values, ScalarType.Float32);
        Tensor sums = empty(share.shape, ScalarType.Float32, Device).DetachFromDisposeScope(); // NCCL adds nothing to what is there.
        return After(base.ReduceScatter(terms, counts, sums), new Transfer(sums, share, Received.Added), new Transfer(terms, values, Received.Nothing));
    }

    /// <inheritdoc/>
    public override ICollective AllGather(Tensor share, IReadOnlyList<long> counts, Tensor all)
    {
        Tensor own = Here(share, share.dtype);
        Tensor gathered = Here(all, all.dtype);
        return After(base.AllGather(own, counts, gathered), new Transfer(gathered, all, Received.Values), new Transfer(own, share, Received.Nothing));
    }

    /// <inheritdoc/>
    public override ICollective Broadcast(Tensor values)
    {
        Tensor sent = Here(values, values.dtype);
        return After(base.Broadcast(sent), new Transfer(sent, values, Received.Values));
    }

    /// <inheritdoc/>
    protected override nint Address(Tensor tensor, string name)
    {
        UseContext(Device);
        return tensor.is_contiguous() ? NativeMethods.THSTensor_data(tensor.Handle) : throw new ArgumentException($"'{name}' must be contiguous.");
    }

    /// <inheritdoc/>
    protected override void Check(int status)
    {
        try
        {
            base.Check(status);
        }
        catch (IOException exception)
        {
            throw meeting.Missing(RollCall) is { } missing ? new IOException($"{exception.Message}: {missing}", exception) : exception;
        }
    }

    private static unsafe CommLibrary Joined(IMeeting meeting, Device device)
    {
        const int IdBytes = 128;
        CommLibrary library = CommLibrary.Nccl;
        UseContext(device);
        byte[] id = new byte[IdBytes];
        fixed (byte* bytes = id)
        {
            library.Check(meeting.Rank == 0 ? ((delegate* unmanaged<byte*, int>)library.Export("nccl_id"))(bytes) : 0);
        }

        fixed (byte* bytes = meeting.Share(id))
        {
            library.Check(((delegate* unmanaged<byte*, int, int, nint, int>)library.Export("nccl_init"))(bytes, meeting.Rank, meeting.Size, 0));
        }

        return library;
    }

    /// <summary>NCCL works on the GPU whose context is current.</summary>
    private static void UseContext(Device device)
    {
        if (device.type == DeviceType.CUDA)
        {
            CudaDevice.Of(device.index).Use();
        }
    }

    /// <summary>A tensor itself if it lies on the GPU in this dtype, else its copy there.</summary>
    private Tensor Here(Tensor tensor, ScalarType dtype) =>
        tensor.device_type == Device.type && tensor.dtype == dtype ? tensor : tensor.to(dtype, Device).DetachFromDisposeScope();

    private static Returning After(ICollective operation, params Transfer[] transfers) => new(operation, transfers);

    /// <summary>What becomes of a tensor that was given, when the operation is done.</summary>
    private enum Received
    {
        Nothing,
        Values,
        Added,
    }

    /// <summary>A tensor that NCCL works on, and the one that was given, which may be the same.</summary>
    private sealed record Transfer(Tensor Used, Tensor Given, Received Received);

    /// <summary>Brings what was received in a copy to the tensor that was given, and frees the copies.</summary>
    private sealed class Returning(ICollective operation, Transfer[] transfers) : ICollective
    {
        public void Wait()
        {
            operation.Wait();
            using DisposeScope scope = NewDisposeScope();
            foreach ((Tensor used, Tensor given, Received received) in transfers.Where(transfer => !ReferenceEquals(transfer.Used, transfer.Given)))
            {
                _ = received switch
                {
                    Received.Values => given.copy_(used),
                    Received.Added => given.add_(used.to(given.device), Scalars.One),
                    _ => given,
                };
                used.Dispose();
            }
        }
    }
}
