using static TorchSharp.torch;

namespace Nibble.Kernels.Communication;

/// <summary>
/// The processes of one run and the collective operations between them. Every process calls the same operations in the same order with
/// sizes that agree. An operation is started by its method and done after <see cref="ICollective.Wait"/>; until then its tensors must
/// live, unchanged. Several may be under way, and all ranks wait for them in the same order. Tensors are contiguous and lie in the
/// memory of the host or, where <see cref="Device"/> is a GPU, on it. Sums are the same everywhere to the bit; over MPI ranks add in
/// their order, as one process would add what they bring.
/// </summary>
public interface ICommunicator
{
    /// <summary>This process: 0 to <see cref="Size"/> - 1.</summary>
    int Rank { get; }

    /// <summary>How many there are.</summary>
    int Size { get; }

    /// <summary>Where this process computes: its own GPU, or the CPU.</summary>
    Device Device => CPU;

    /// <summary>What was communicated since the start.</summary>
    CommunicationVolume Volume => default;

    /// <summary>Ends a wait that takes longer with an <see cref="IOException"/> that names the ranks which did not come.</summary>
    void LimitWaits(TimeSpan limit);

    /// <summary>Puts into values the sum of all ranks' values.</summary>
    /// <param name="values">float32 or bfloat16; bfloat16 is summed in float32 and rounded once.</param>
    ICollective AllReduce(Tensor values);

    /// <summary>Adds to each rank's share its part of all ranks' values, in float32 whatever they are.</summary>
    /// <param name="values">float32 or bfloat16 <c>[counts[0] + ... + counts[Size - 1]]</c>.</param>
    /// <param name="counts">Elements of each rank's part.</param>
    /// <param name="share">This rank's, float32 <c>[counts[Rank]]</c>, with what was summed before.</param>
    ICollective ReduceScatter(Tensor values, IReadOnlyList<long> counts, Tensor share);

    /// <summary>Gives each rank the parts of all, in their order.</summary>
    /// <param name="share">This rank's part, <c>[counts[Rank]]</c>, of any dtype.</param>
    /// <param name="counts">Elements of each rank's part.</param>
    /// <param name="all">Receives them: <c>[counts[0] + ... + counts[Size - 1]]</c>, of the same dtype.</param>
    ICollective AllGather(Tensor share, IReadOnlyList<long> counts, Tensor all);

    /// <summary>Puts into values, of any dtype, what they are on rank 0.</summary>
    ICollective Broadcast(Tensor values);

    /// <summary>Is done when every rank has come to it.</summary>
    ICollective Barrier();
}

/// <summary>A collective operation under way.</summary>
public interface ICollective
{
    /// <summary>Waits until it is done.</summary>
    /// <exception cref="IOException">A rank did not come in time, or the network failed.</exception>
    void Wait();
}
