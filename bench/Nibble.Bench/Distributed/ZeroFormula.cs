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
    /// Bytes a parameter that each of n processes sends in a step along rings: float32 gradients summed for all, or gradients summed for one of them and
    /// the parameters gathered in bfloat16, with stage 3 before the forward pass and again before the backward one.
    /// </summary>
    /// <param name="stage">ZeRO's.</param>
    /// <param name="n">Processes.</param>
    /// <param name="gradient">Bytes of a gradient that is summed for one process: 2 over MPI, 4 over NCCL, which sums in what it is sent.</param>
    public static double SentPerParameter(int stage, int n, int gradient)
    {
        const int Sum = 4;
        const int Weight = 2;
        int bytes = stage switch
        {
            0 => 2 * Sum,
            3 => gradient + (2 * Weight),
            _ => gradient + Weight,
        };
        return (double)bytes * (n - 1) / n;
    }
}
