using System.Numerics;
using System.Runtime.InteropServices;

namespace Nibble.Data.Validation;

/// <summary>64-bit hashes of texts, the same on every run. Of ten million texts two share one with a probability of three in a million.</summary>
internal static class TextHash
{
    private const ulong Odd = 0x9E3779B97F4A7C15;

    public static ulong Of(ReadOnlySpan<char> text, ulong seed = 0)
    {
        ulong hash = seed ^ ((ulong)text.Length * Odd);
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<char, ulong>(text);
        foreach (ulong word in words)
        {
            hash = BitOperations.RotateLeft(hash ^ Mix(word), 27) * Odd;
        }

        foreach (char rest in text[(words.Length * 4)..])
        {
            hash = BitOperations.RotateLeft(hash ^ rest, 27) * Odd;
        }

        return Mix(hash);
    }

    /// <summary>The finaliser of MurmurHash3: every bit of the result depends on every bit given.</summary>
    public static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 33)) * 0xFF51AFD7ED558CCD;
        value = (value ^ (value >> 33)) * 0xC4CEB9FE1A85EC53;
        return value ^ (value >> 33);
    }
}
