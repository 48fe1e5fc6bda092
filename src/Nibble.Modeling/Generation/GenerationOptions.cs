namespace Nibble.Modeling.Generation;

/// <summary>How a continuation is chosen.</summary>
public sealed record GenerationOptions
{
    /// <summary>Tokens to generate at most.</summary>
    public int MaxNewTokens { get; init; } = 128;

    /// <summary>Zero takes the likeliest token; higher is more varied.</summary>
    public double Temperature { get; init; }

    /// <summary>Samples among this many likeliest tokens; null for all.</summary>
    public int? TopK { get; init; }

    /// <summary>Samples among the likeliest tokens that together reach this probability (nucleus sampling, arXiv:1904.09751).</summary>
    public double TopP { get; init; } = 1;

    /// <summary>Decides what sampling draws; the same seed gives the same text.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>Tokens that end a continuation; the ending token is the last of the result. Null for the model's own.</summary>
    public IReadOnlyList<int>? EosTokenIds { get; init; }

    /// <summary>Ends a continuation when its tokens so far satisfy it, for stop strings; null for never.</summary>
    public Func<IReadOnlyList<int>, bool>? StopWhen { get; init; }

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentException">A value is out of its range.</exception>
    public GenerationOptions Validated()
    {
        if (MaxNewTokens < 1)
        {
            throw new ArgumentException($"max-new-tokens is {MaxNewTokens}; it must be positive.");
        }

        if (Temperature < 0 || !double.IsFinite(Temperature))
        {
            throw new ArgumentException($"temperature is {Temperature}; it must be zero or positive.");
        }

        if (TopP is <= 0 or > 1 || double.IsNaN(TopP))
        {
            throw new ArgumentException($"top-p is {TopP}; it must lie in (0, 1].");
        }

        return TopK is < 1 ? throw new ArgumentException($"top-k is {TopK}; it must be positive.") : this;
    }
}
