using Nibble.Kernels;
using Nibble.Modeling.Decoder;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training.Optimization;

/// <summary>
/// Updates parameters within the backward pass, as soon as their gradients are complete, so that never more than a layer's are there
/// (arXiv:2306.09782, with AdamW in place of plain descent). An update is the one that it would be after the pass, to the bit.
/// </summary>
internal sealed class OptimizerInBackward(AdamWOptimizer optimizer)
{
    private const long Piece = 1L << 20;

    private int step;
    private double learningRate;

    /// <summary>The sum of the squares of all gradients of the step so far.</summary>
    public double Squares { get; private set; }

    /// <summary>Begins a step.</summary>
    /// <param name="number">Counts from 1.</param>
    /// <param name="rate">The step's learning rate.</param>
    public void Begin(int number, double rate) => (step, learningRate, Squares) = (number, rate, 0);

    /// <summary>Updates parameters from their gradients, which then go.</summary>
    /// <exception cref="TrainingDivergedException">A gradient is not finite; its parameter is as it was.</exception>
    public void Update(IEnumerable<Parameter> parameters)
    {
        using DisposeScope scope = NewDisposeScope();
        foreach (Parameter parameter in parameters)
        {
            if (parameter.Value.grad is { } gradient)
            {
                double squares = SquaresOf(gradient);
                if (!double.IsFinite(squares))
                {
                    throw new TrainingDivergedException(step, $"gradient of {parameter.Name}");
                }

                Squares += squares;
                optimizer.Update(parameter, step, learningRate, gradScale: 1);
            }
        }
    }

    /// <summary>
    /// The sum of the squares of a gradient: in float32 within blocks that no share divides, beyond them in float64, so that the factor which clips
    /// does not depend on who has which part. Piece by piece, since a copy of all of it would be larger than the gradient.
    /// </summary>
    public static double SquaresOf(Tensor gradient) => gradient.reshape(-1).split(Piece).Sum(piece =>
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor wide = piece.to(ScalarType.Float32);
        long whole = wide.NumberOfElements / AdamW.StateBlock * AdamW.StateBlock;
        long rest = wide.NumberOfElements - whole;
        return (whole > 0 ? Sum(wide.narrow(0, 0, whole).view(-1, AdamW.StateBlock).norm(1)) : 0)
            + (rest > 0 ? Sum(wide.narrow(0, whole, rest).norm().view(1)) : 0);

        static double Sum(Tensor norms)
        {
            Tensor wide = norms.to(ScalarType.Float64);
            return wide.dot(wide).item<double>();
        }
    });
}
