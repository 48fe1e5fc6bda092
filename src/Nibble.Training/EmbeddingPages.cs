using Nibble.Modeling.Configuration;

namespace Nibble.Training;

/// <summary>An embedding that lies in a model's file as it is computed with is not read as a whole, but where tokens ask for their rows.</summary>
internal static class EmbeddingPages
{
    /// <summary>What Linux maps of a file around a place that is read (fault_around_bytes); of one written moments ago it may be more, for 6.18 maps all that was cached in one piece.</summary>
    private const long Around = 64 << 10;

    /// <summary>Bytes of the embedding that are in memory once these tokens have been read.</summary>
    /// <param name="model">The model.</param>
    /// <param name="elementSize">Bytes of an element.</param>
    /// <param name="tokens">The tokens' numbers.</param>
    public static long Read(DecoderConfig model, long elementSize, IReadOnlySet<int> tokens)
    {
        long row = elementSize * model.HiddenSize;
        long places = tokens.Select(token => token * row / Around).Distinct().LongCount();
        return Math.Min(places * Math.Max(Around, row), model.VocabSize * row);
    }
}
