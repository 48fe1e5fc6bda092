using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels.Communication;

/// <summary>Processes that mpirun or srun started, over MPI; one object for the life of the process.</summary>
internal sealed class MpiCommunicator : ICommunicator
{
    /// <summary>MPI counts bytes in 31 bits; what is larger goes in pieces of this many.</summary>
    private const long Piece = 1L << 30;

    /// <summary>Joins the other processes.</summary>
    /// <exception cref="DllNotFoundException">MPI, or the library over it, is not there.</exception>
    public MpiCommunicator()
    {
        LibNibbleComm.Check(LibNibbleComm.nibble_comm_init());
        Rank = LibNibbleComm.nibble_comm_rank();
        Size = LibNibbleComm.nibble_comm_size();
    }

    /// <inheritdoc/>
    public int Rank { get; }

    /// <inheritdoc/>
    public int Size { get; }

    /// <summary>Processes that may run on the very processors that this one may run on, itself among them.</summary>
    public static int Sharers => LibNibbleComm.nibble_comm_sharers();

    /// <summary>Leaves the others, when all have come to this.</summary>
    public static void Leave() => LibNibbleComm.Check(LibNibbleComm.nibble_comm_finalize());

    /// <summary>Ends all processes of the run.</summary>
    public static void Abort(int code) => LibNibbleComm.nibble_comm_abort(code);

    /// <inheritdoc/>
    public void LimitWaits(TimeSpan limit) => LibNibbleComm.Check(LibNibbleComm.nibble_comm_set_timeout(limit.TotalSeconds));

    /// <inheritdoc/>
    public unsafe ICollective AllReduce(Tensor values)
    {
        nint request;
        LibNibbleComm.Check(LibNibbleComm.nibble_comm_all_reduce(
            (int)DTypes.Of(values), TensorMemory.Address(values, nameof(values)), values.NumberOfElements, &request));
        return new Pending(request);
    }

    /// <inheritdoc/>
    public unsafe ICollective ReduceScatter(Tensor values, IReadOnlyList<long> counts, Tensor share)
    {
        Require(values, counts, share);
        nint request;
        fixed (long* each = counts.ToArray())
        {
            LibNibbleComm.Check(LibNibbleComm.nibble_comm_reduce_scatter(
                (int)DTypes.Of(values), TensorMemory.Address(values, nameof(values)), each, TensorMemory.Address(share, nameof(share)), &request));
        }

        return new Pending(request);
    }

    /// <inheritdoc/>
    public unsafe ICollective AllGather(Tensor share, IReadOnlyList<long> counts, Tensor all)
    {
        Require(all, counts, share);
        nint request;
        fixed (long* bytes = counts.Select(count => count * all.ElementSize).ToArray())
        {
            LibNibbleComm.Check(LibNibbleComm.nibble_comm_all_gather(
                TensorMemory.Address(share, nameof(share)), bytes, TensorMemory.Address(all, nameof(all)), &request));
        }

        return new Pending(request);
    }

    /// <inheritdoc/>
    public unsafe ICollective Broadcast(Tensor values)
    {
        nint start = TensorMemory.Address(values, nameof(values));
        long bytes = values.NumberOfElements * values.ElementSize;
        var requests = new List<nint>();
        for (long offset = 0; offset < bytes; offset += Piece)
        {
            nint request;
            LibNibbleComm.Check(LibNibbleComm.nibble_comm_broadcast(start + (nint)offset, Math.Min(Piece, bytes - offset), 0, &request));
            requests.Add(request);
        }

        return new Pending([.. requests]);
    }

    /// <inheritdoc/>
    public unsafe ICollective Barrier()
    {
        nint request;
        LibNibbleComm.Check(LibNibbleComm.nibble_comm_barrier(&request));
        return new Pending(request);
    }

    private void Require(Tensor all, IReadOnlyList<long> counts, Tensor share)
    {
        if (counts.Count != Size || counts.Sum() != all.NumberOfElements || counts[Rank] != share.NumberOfElements || share.dtype != all.dtype)
        {
            throw new ArgumentException(
                $"Parts of [{string.Join(", ", counts)}] elements between {Size} ranks do not fit {all.NumberOfElements} x {all.dtype} in all and {share.NumberOfElements} x {share.dtype} on rank {Rank}.");
        }
    }

    private sealed class Pending(params nint[] requests) : ICollective
    {
        public void Wait()
        {
            foreach (nint request in requests)
            {
                LibNibbleComm.Check(LibNibbleComm.nibble_comm_wait(request));
            }
        }
    }
}
