using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels.Communication;

/// <summary>The operations of <see cref="CommLibrary"/> on tensors; one object for the life of the process, which has joined the others.</summary>
internal abstract class NativeCommunicator(CommLibrary library) : ICommunicator
{
    /// <summary>MPI counts bytes in 31 bits; what is larger goes in pieces of this many.</summary>
    private const long Piece = 1L << 30;

    /// <inheritdoc/>
    public unsafe int Rank { get; } = library.Rank();

    /// <inheritdoc/>
    public unsafe int Size { get; } = library.Size();

    /// <inheritdoc/>
    public abstract Device Device { get; }

    /// <inheritdoc/>
    public CommunicationVolume Volume { get; private set; }

    /// <summary>Leaves the others, when all have come to this.</summary>
    public virtual unsafe void Leave() => library.Check(library.Leave());

    /// <summary>Ends all processes of the run.</summary>
    public virtual unsafe void Abort(int code) => library.Abort(code);

    /// <inheritdoc/>
    public virtual unsafe void LimitWaits(TimeSpan limit) => library.Check(library.SetTimeout(limit.TotalSeconds));

    /// <inheritdoc/>
    public virtual unsafe ICollective AllReduce(Tensor values)
    {
        nint request;
        Check(library.AllReduce((int)DTypes.Of(values), Address(values, nameof(values)), values.NumberOfElements, &request));
        Volume += new CommunicationVolume(AllReduced: Bytes(values));
        return new Pending(this, request);
    }

    /// <inheritdoc/>
    public virtual unsafe ICollective ReduceScatter(Tensor values, IReadOnlyList<long> counts, Tensor share)
    {
        Require(values, counts, share, ScalarType.Float32);
        nint request;
        fixed (long* each = counts.ToArray())
        {
            Check(library.ReduceScatter((int)DTypes.Of(values), Address(values, nameof(values)), each, Address(share, nameof(share)), &request));
        }

        Volume += new CommunicationVolume(ReduceScattered: Bytes(values));
        return new Pending(this, request);
    }

    /// <inheritdoc/>
    public virtual unsafe ICollective AllGather(Tensor share, IReadOnlyList<long> counts, Tensor all)
    {
        Require(all, counts, share, all.dtype);
        nint request;
        fixed (long* bytes = counts.Select(count => count * all.ElementSize).ToArray())
        {
            Check(library.AllGather(Address(share, nameof(share)), bytes, Address(all, nameof(all)), &request));
        }

        Volume += new CommunicationVolume(AllGathered: Bytes(all));
        return new Pending(this, request);
    }

    /// <inheritdoc/>
    public virtual unsafe ICollective Broadcast(Tensor values)
    {
        nint start = Address(values, nameof(values));
        long bytes = Bytes(values);
        var requests = new List<nint>();
        for (long offset = 0; offset < bytes; offset += Piece)
        {
            nint request;
            Check(library.Broadcast(start + (nint)offset, Math.Min(Piece, bytes - offset), 0, &request));
            requests.Add(request);
        }

        return new Pending(this, [.. requests]);
    }

    /// <inheritdoc/>
    public virtual unsafe ICollective Barrier()
    {
        nint request;
        Check(library.Barrier(&request));
        return new Pending(this, request);
    }

    /// <summary>Where a tensor lies, contiguous and in the memory that the library works on.</summary>
    protected abstract nint Address(Tensor tensor, string name);

    /// <summary>Throws what a failed call says, and what more is to be found out about it.</summary>
    protected virtual void Check(int status) => library.Check(status);

    private unsafe void Complete(nint request) => Check(library.Wait(request));

    private void Require(Tensor all, IReadOnlyList<long> counts, Tensor share, ScalarType expected)
    {
        if (counts.Count != Size || counts.Sum() != all.NumberOfElements || counts[Rank] != share.NumberOfElements || share.dtype != expected)
        {
            throw new ArgumentException(
                $"Parts of [{string.Join(", ", counts)}] elements between {Size} ranks do not fit {all.NumberOfElements} x {all.dtype} in all and {share.NumberOfElements} x {share.dtype} on rank {Rank}, where {expected} was expected.");
        }
    }

    private static long Bytes(Tensor tensor) => tensor.NumberOfElements * tensor.ElementSize;

    private sealed class Pending(NativeCommunicator communicator, params nint[] requests) : ICollective
    {
        public void Wait()
        {
            foreach (nint request in requests)
            {
                communicator.Complete(request);
            }
        }
    }
}
