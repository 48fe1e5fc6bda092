namespace Nibble.Bench.Distributed;

/// <summary>What ZeRO (arXiv:1910.02054) says of full fine-tuning with AdamW: 2 bytes a parameter for weights, 2 for gradients, 12 for float32 masters and states.</summary>
internal static class ZeroFormula
{
    /// <summary>Bytes a parameter in each of n processes.</summary>
    public static double BytesPerParameter(int stage, int n) => stage switch
    {
        0 => 16,
        1 => 4 + (12.0 / n),
        2 => 2 + (14.0 / n),
        _ => 16.0 / n,
    };

    /// <summary>
    /// Bytes a parameter that each of n processes sends in a step along rings: float32 gradients summed for all, or for one of them and the
    /// parameters gathered in bfloat16, with stage 3 before the forward pass and again before the backward one.
    /// </summary>
    public static double SentPerParameter(int stage, int n)
    {
        const int Gradient = 4;
        const int Weight = 2;
        int elements = stage switch
        {
            0 => 2 * Gradient,
            3 => Gradient + (2 * Weight),
            _ => Gradient + Weight,
        };
        return (double)elements * (n - 1) / n;
    }
}
