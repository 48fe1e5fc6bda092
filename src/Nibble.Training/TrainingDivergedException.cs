namespace Nibble.Training;

/// <summary>The loss or a gradient stopped being a number; weights are those of the last good step.</summary>
/// <param name="step">The step in which it happened.</param>
/// <param name="tensor">The first tensor found with such values.</param>
public sealed class TrainingDivergedException(int step, string tensor)
    : Exception($"Training diverged in step {step}: '{tensor}' is not finite. Lower the learning rate, or use bfloat16 or float32.")
{
    /// <summary>The step.</summary>
    public int Step => step;
}
