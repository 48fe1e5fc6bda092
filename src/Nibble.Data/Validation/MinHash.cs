namespace Nibble.Data.Validation;

/// <summary>
/// Signatures by which texts can be compared without being at hand: the share of equal bins estimates the Jaccard similarity of
/// their 13-grams of characters, letter case, punctuation and spacing aside. One permutation hashing (Li, Owen and Zhang 2012)
/// needs one hash a 13-gram for all 64 bins; bins that stay empty borrow from the next (Shrivastava and Li 2014).
/// </summary>
/// <remarks>
/// Four bins of 16 bits make a word of 64, and a word is a band of locality-sensitive hashing: of texts with similarity 0.7, all but 12 in
/// 1,000 share one of the 16, of texts with 0.3 one in eight.
/// </remarks>
internal static class MinHash
{
    /// <summary>Words of a signature.</summary>
    public const int Bands = 16;

    /// <summary>From this estimated similarity on, two texts are nearly the same.</summary>
    public const double Near = 0.7;

    private const int Grams = 13;
    private const int Bins = Bands * 4;
    private const ulong Base = 0x100000001B3;

    /// <summary>Base to the power of <see cref="Grams"/>: what the character that leaves the window has been multiplied by.</summary>
    private static readonly ulong Leaving = Enumerable.Repeat(Base, Grams).Aggregate(1UL, (product, factor) => unchecked(product * factor));

    /// <summary>The signature of a text; false if it has fewer than 13 characters.</summary>
    /// <param name="text">The text.</param>
    /// <param name="seed">Texts with different seeds have nothing in common.</param>
    /// <param name="signature">Receives <see cref="Bands"/> words, none of them zero but by a rare chance.</param>
    public static bool TrySign(ReadOnlySpan<char> text, ulong seed, Span<ulong> signature)
    {
        Span<uint> bins = stackalloc uint[Bins];
        bins.Fill(uint.MaxValue);
        Span<char> window = stackalloc char[16]; // A power of two above 13.
        ulong hash = 0;
        int count = 0;
        bool gap = false;
        foreach (char character in text)
        {
            if (!char.IsLetterOrDigit(character))
            {
                gap = count > 0;
                continue;
            }

            if (gap)
            {
                Add(' ', window, bins);
                gap = false;
            }

            Add(char.ToLowerInvariant(character), window, bins);
        }

        if (count < Grams)
        {
            return false;
        }

        Fill(bins);
        for (int band = 0; band < Bands; band++)
        {
            Span<uint> four = bins.Slice(band * 4, 4);
            signature[band] = (four[0] & 0xFFFF) | ((ulong)(four[1] & 0xFFFF) << 16) | ((ulong)(four[2] & 0xFFFF) << 32) | ((ulong)(four[3] & 0xFFFF) << 48);
        }

        return true;

        void Add(char next, Span<char> window, Span<uint> bins)
        {
            hash = (hash * Base) + next + 1UL;
            if (count >= Grams)
            {
                hash -= Leaving * (window[(count - Grams) & 15] + 1UL);
            }

            window[count++ & 15] = next;
            if (count >= Grams)
            {
                ulong mixed = TextHash.Mix(hash ^ seed);
                ref uint bin = ref bins[(int)(mixed >> 58)];
                bin = Math.Min(bin, (uint)mixed);
            }
        }
    }

    /// <summary>The estimated similarity of two signed texts, 0 to 1.</summary>
    public static double Similarity(ReadOnlySpan<ulong> a, ReadOnlySpan<ulong> b)
    {
        int equal = 0;
        for (int band = 0; band < Bands; band++)
        {
            ulong different = a[band] ^ b[band];
            for (int bin = 0; bin < 4; bin++)
            {
                equal += (different & (0xFFFFUL << (16 * bin))) == 0 ? 1 : 0;
            }
        }

        return (double)equal / Bins;
    }

    private static void Fill(Span<uint> bins)
    {
        Span<uint> given = stackalloc uint[Bins];
        bins.CopyTo(given);
        for (int i = 0; i < Bins; i++)
        {
            int distance = 0;
            while (given[(i + distance) % Bins] == uint.MaxValue)
            {
                distance++;
            }

            bins[i] = given[(i + distance) % Bins] + ((uint)distance * 0x9E3779B1);
        }
    }
}
