using Nibble.Modeling.Decoder;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Evaluation;

/// <summary>Negative log-likelihood of labels under a model.</summary>
/// <param name="Sum">Over all target tokens.</param>
/// <param name="Tokens">Target tokens.</param>
public readonly record struct EvaluationLoss(double Sum, long Tokens)
{
    /// <summary>Per target token.</summary>
    public double Mean => Sum / Math.Max(1, Tokens);

    /// <summary>exp of the mean.</summary>
    public double Perplexity => Math.Exp(Mean);

    /// <summary>Reads all batches once, without gradients or dropout.</summary>
    /// <param name="model">The model, with whatever adapter is attached.</param>
    /// <param name="batches">Tokens with labels; without labels every token is predicted from those before it.</param>
    /// <param name="cancellation">Ends it between batches.</param>
    public static EvaluationLoss Of(DecoderModel model, IEnumerable<TokenBatch> batches, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(batches);
        double sum = 0;
        long tokens = 0;
        foreach (TokenBatch batch in batches)
        {
            cancellation.ThrowIfCancellationRequested();
            using DisposeScope scope = NewDisposeScope();
            using IDisposable noGrad = no_grad();
            sum += model.TokenLosses(batch).to(ScalarType.Float64).sum().item<double>();
            tokens += batch.ShiftedLabels().LongCount(label => label >= 0);
        }

        return new EvaluationLoss(sum, tokens);
    }
}
