using static TorchSharp.torch;

namespace Nibble.Training.Optimization;

/// <summary>
/// Keeps float16 gradients within range (arXiv:1710.03740): the loss is multiplied by a factor that halves when gradients
/// overflow, the step then being skipped, and doubles after many good steps. Gradients that overflow even with a factor of 1 do not
/// fit float16 at all. Other dtypes need no factor.
/// </summary>
internal sealed class LossScale(ScalarType dtype)
{
    private const int GrowthInterval = 2000;
    private const double Lowest = 1;

    /// <summary>The factor.</summary>
    public double Value { get; set; } = dtype == ScalarType.Float16 ? 65536 : 1;

    /// <summary>Whether gradients that are not finite now would never be.</summary>
    public bool IsLowest => Value <= Lowest;

    /// <summary>Good steps since the last change.</summary>
    public int GoodSteps { get; set; }

    /// <summary>Adapts the factor; false when the step must be skipped.</summary>
    public bool Accept(bool finite)
    {
        if (!finite)
        {
            Value /= 2;
            GoodSteps = 0;
            return false;
        }

        if (dtype == ScalarType.Float16 && ++GoodSteps == GrowthInterval)
        {
            Value *= 2;
            GoodSteps = 0;
        }

        return true;
    }
}
