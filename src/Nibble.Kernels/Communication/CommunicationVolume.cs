namespace Nibble.Kernels.Communication;

/// <summary>What a process gave to collective operations: the bytes of their whole buffers, sums and gathered shares alike.</summary>
/// <param name="AllReduced">Summed for all.</param>
/// <param name="ReduceScattered">Summed, each part for one.</param>
/// <param name="AllGathered">Gathered from all for all.</param>
public readonly record struct CommunicationVolume(long AllReduced = 0, long ReduceScattered = 0, long AllGathered = 0)
{
    /// <summary>Both together.</summary>
    public static CommunicationVolume operator +(CommunicationVolume a, CommunicationVolume b) =>
        new(a.AllReduced + b.AllReduced, a.ReduceScattered + b.ReduceScattered, a.AllGathered + b.AllGathered);

    /// <summary>What came since.</summary>
    public static CommunicationVolume operator -(CommunicationVolume a, CommunicationVolume b) =>
        new(a.AllReduced - b.AllReduced, a.ReduceScattered - b.ReduceScattered, a.AllGathered - b.AllGathered);

    /// <summary>Bytes that each of <paramref name="size"/> processes sends along a ring, the least that can be: (N - 1) / N of a buffer that is scattered or gathered, twice that of one that is summed for all.</summary>
    public double SentAlongRing(int size) => (double)(size - 1) / size * ((2.0 * AllReduced) + ReduceScattered + AllGathered);
}
