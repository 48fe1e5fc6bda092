using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Kernels.Communication;

/// <summary>A run of one process: the sum of all is its own.</summary>
public sealed class SingleProcess : ICommunicator
{
    private static readonly Done Nothing = new();

    /// <inheritdoc/>
    public int Rank => 0;

    /// <inheritdoc/>
    public int Size => 1;

    /// <inheritdoc/>
    public void LimitWaits(TimeSpan limit)
    {
    }

    /// <inheritdoc/>
    public ICollective AllReduce(Tensor values) => Nothing;

    /// <inheritdoc/>
    public ICollective ReduceScatter(Tensor values, IReadOnlyList<long> counts, Tensor share)
    {
        ArgumentNullException.ThrowIfNull(share);
        share.add_(values, Scalars.One);
        return Nothing;
    }

    /// <inheritdoc/>
    public ICollective AllGather(Tensor share, IReadOnlyList<long> counts, Tensor all)
    {
        ArgumentNullException.ThrowIfNull(all);
        all.copy_(share);
        return Nothing;
    }

    /// <inheritdoc/>
    public ICollective Broadcast(Tensor values) => Nothing;

    /// <inheritdoc/>
    public ICollective Barrier() => Nothing;

    private sealed class Done : ICollective
    {
        public void Wait()
        {
        }
    }
}
