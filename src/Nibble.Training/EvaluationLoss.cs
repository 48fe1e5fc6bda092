using Nibble.Modeling.Decoder;
using Nibble.Training.Batching;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Training;

/// <summary>Negative log-likelihood of labels under a model.</summary>
/// <param name="Sum">Over all target tokens.</param>
/// <param name="Tokens">Target tokens.</param>
public readonly record struct EvaluationLoss(double Sum, long Tokens)
{
    /// <summary>Per target token.</summary>
    public double Mean => Sum / Math.Max(1, Tokens);

    /// <summary>exp of the mean.</summary>
    public double Perplexity => Math.Exp(Mean);

    /// <summary>Reads all examples once, without gradients or dropout.</summary>
    /// <param name="model">The model, with whatever adapter is attached.</param>
    /// <param name="examples">The examples.</param>
    /// <param name="batchSize">Examples at a time.</param>
    /// <param name="progress">Told after each batch: how many examples are done.</param>
    public static EvaluationLoss Of(DecoderModel model, IReadOnlyList<EncodedExample> examples, int batchSize, Action<int>? progress = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        using IDisposable noGrad = no_grad();
        double sum = 0;
        long tokens = 0;
        int done = 0;
        foreach (EncodedExample[] chunk in examples.Chunk(batchSize))
        {
            using DisposeScope scope = NewDisposeScope();
            TokenBatch batch = TokenBatch.Of([.. chunk.Select(example => example.InputIds)]) with { Labels = [.. chunk.SelectMany(example => example.Labels)] };
            sum += model.TokenLosses(batch).to(ScalarType.Float64).sum().item<double>();
            tokens += chunk.Sum(example => (long)example.Targets);
            progress?.Invoke(done += chunk.Length);
        }

        return new EvaluationLoss(sum, tokens);
    }
}
