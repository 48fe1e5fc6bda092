using Nibble.Modeling.Decoder;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Evaluation.Likelihood;

/// <summary>Negative log-likelihood of labels under a model.</summary>
/// <param name="Sum">Over all target tokens, in nats.</param>
/// <param name="Tokens">Target tokens.</param>
public readonly record struct EvaluationLoss(double Sum, long Tokens)
{
    /// <summary>Per target token.</summary>
    public double Mean => Sum / Math.Max(1, Tokens);

    /// <summary>exp of the mean.</summary>
    public double Perplexity => Math.Exp(Mean);

    /// <summary>Of both together.</summary>
    public static EvaluationLoss operator +(EvaluationLoss left, EvaluationLoss right) => new(left.Sum + right.Sum, left.Tokens + right.Tokens);

    /// <inheritdoc cref="op_Addition"/>
    public static EvaluationLoss Add(EvaluationLoss left, EvaluationLoss right) => left + right;

    /// <summary>Of all batches together; see <see cref="OfEach"/>.</summary>
    public static EvaluationLoss Of(DecoderModel model, IEnumerable<TokenBatch> batches, CancellationToken cancellation = default) =>
        OfEach(model, batches, cancellation).Aggregate(default(EvaluationLoss), Add);

    /// <summary>Of every sequence in turn, each read once, without gradients or dropout.</summary>
    /// <param name="model">The model, with whatever adapter is attached.</param>
    /// <param name="batches">Tokens with labels; without labels every token is predicted from those before it.</param>
    /// <param name="cancellation">Ends it between batches.</param>
    public static IEnumerable<EvaluationLoss> OfEach(DecoderModel model, IEnumerable<TokenBatch> batches, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(batches);
        foreach (TokenBatch batch in batches)
        {
            cancellation.ThrowIfCancellationRequested();
            float[] losses = TokenLosses(model, batch);
            long[] labels = batch.ShiftedLabels();
            int start = 0;
            foreach (int length in batch.Lengths)
            {
                yield return new EvaluationLoss(
                    losses.Skip(start).Take(length).Sum(loss => (double)loss), labels.Skip(start).Take(length).LongCount(label => label >= 0));
                start += length;
            }
        }
    }

    private static float[] TokenLosses(DecoderModel model, TokenBatch batch)
    {
        using DisposeScope scope = NewDisposeScope();
        using IDisposable noGrad = no_grad();
        return model.TokenLosses(batch).cpu().data<float>().ToArray();
    }
}
