namespace Nibble.Data.Augmentation;

/// <summary>What asking a model has taken.</summary>
/// <param name="Requests">Requests that were answered by the model.</param>
/// <param name="Cached">Requests that were answered from disk.</param>
/// <param name="InputTokens">Tokens given to the model, as it counts them.</param>
/// <param name="OutputTokens">Tokens that the model wrote, as it counts them.</param>
public sealed record ChatSpending(long Requests, long Cached, long InputTokens, long OutputTokens)
{
    /// <summary>The cost at prices for a million tokens.</summary>
    public decimal Cost(decimal inputPrice, decimal outputPrice) => ((InputTokens * inputPrice) + (OutputTokens * outputPrice)) / 1_000_000m;
}
