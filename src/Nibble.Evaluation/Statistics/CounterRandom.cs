namespace Nibble.Evaluation.Statistics;

/// <summary>
/// Random numbers by (seed, stream, position), the same on every machine: the finaliser of SplitMix64 (Steele, Lea and Flood 2014) over
/// a Weyl sequence, once for the stream and once for the position.
/// </summary>
internal readonly struct CounterRandom(ulong seed, int stream)
{
    private readonly ulong key = Mix(seed, stream);

    /// <summary>64 random bits.</summary>
    public ulong Bits(int position) => Mix(key, position);

    /// <summary>A number from 0 to count - 1.</summary>
    public int Below(int count, int position) => (int)Math.BigMul(Bits(position), (ulong)count, out _);

    private static ulong Mix(ulong seed, int counter)
    {
        ulong z = unchecked(seed + (0x9E3779B97F4A7C15UL * ((uint)counter + 1UL)));
        z = unchecked((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL);
        z = unchecked((z ^ (z >> 27)) * 0x94D049BB133111EBUL);
        return z ^ (z >> 31);
    }
}
