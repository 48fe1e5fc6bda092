using static TorchSharp.torch;

namespace Nibble.Training.Optimization;

/// <summary>
/// Keeps float16 gradients within range (arXiv:1710.03740): the loss is multiplied by a factor that halves when gradients
/// overflow, the step then being skipped, and doubles after many good steps. Other dtypes need no factor.
/// </summary>
internal sealed class LossScale(ScalarType dtype)
{
    private const int GrowthInterval = 2000;

    public bool IsActive => dtype == ScalarType.Float16;

    /// <summary>The factor.</summary>
    public double Value { get; set; } = dtype == ScalarType.Float16 ? 65536 : 1;

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

        if (IsActive && ++GoodSteps == GrowthInterval)
        {
            Value *= 2;
            GoodSteps = 0;
        }

        return true;
    }
}
