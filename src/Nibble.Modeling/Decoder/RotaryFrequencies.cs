using Nibble.Modeling.Configuration;

namespace Nibble.Modeling.Decoder;

/// <summary>The angles a head's pairs turn by per position, for each way of stretching the context.</summary>
internal sealed class RotaryFrequencies
{
    private readonly RopeConfig config;
    private readonly int dim;
    private readonly float[] trained;

    public RotaryFrequencies(RopeConfig config, int headDim)
    {
        this.config = config;
        dim = headDim;
        trained = Stretch();
        AttentionFactor = config.Type == RopeType.Yarn ? (float)YarnAttentionFactor() : 1;
    }

    /// <summary>Factor on cos and sin.</summary>
    public float AttentionFactor { get; }

    /// <summary>Radians per position, <c>[head_dim / 2]</c>, for a sequence of <paramref name="length"/> tokens.</summary>
    public float[] For(int length)
    {
        if (config.Type != RopeType.Dynamic || length <= config.OriginalMaxPositionEmbeddings)
        {
            return trained;
        }

        double growth = (config.Factor * length / config.OriginalMaxPositionEmbeddings) - (config.Factor - 1);
        return Plain(config.Theta * Math.Pow(growth, dim / (dim - 2.0)));
    }

    private float[] Plain(double theta) => [.. Enumerable.Range(0, dim / 2).Select(i => (float)(1 / Math.Pow(theta, 2.0 * i / dim)))];

    private float[] Stretch()
    {
        float[] plain = Plain(config.Theta);
        return config.Type switch
        {
            RopeType.Linear => [.. plain.Select(frequency => (float)(frequency / config.Factor))],
            RopeType.Llama3 => [.. plain.Select(Llama3)],
            RopeType.Yarn => Yarn(plain),
            _ => plain,
        };
    }

    private float Llama3(float frequency)
    {
        double wavelength = 2 * Math.PI / frequency;
        double rotations = config.OriginalMaxPositionEmbeddings / wavelength;
        if (rotations < config.LowFreqFactor)
        {
            return (float)(frequency / config.Factor);
        }

        if (rotations > config.HighFreqFactor)
        {
            return frequency;
        }

        double kept = (rotations - config.LowFreqFactor) / (config.HighFreqFactor - config.LowFreqFactor);
        return (float)(((1 - kept) * frequency / config.Factor) + (kept * frequency));
    }

    private float[] Yarn(float[] plain)
    {
        double low = DimensionOf(config.BetaFast);
        double high = DimensionOf(config.BetaSlow);
        if (config.Truncate)
        {
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        }

        (low, high) = (Math.Max(low, 0), Math.Min(high, dim - 1));
        if (low == high)
        {
            high += 0.001; // A ramp of no width would divide by zero.
        }

        return [.. plain.Select((frequency, i) =>
        {
            double divided = Math.Clamp((i - low) / (high - low), 0, 1);
            return (float)((frequency / config.Factor * divided) + (frequency * (1 - divided)));
        })];
    }

    /// <summary>The dimension whose pair makes this many rotations over the trained length.</summary>
    private double DimensionOf(double rotations) =>
        dim * Math.Log(config.OriginalMaxPositionEmbeddings / (rotations * 2 * Math.PI)) / (2 * Math.Log(config.Theta));

    private double YarnAttentionFactor()
    {
        if (config.AttentionFactor is { } given)
        {
            return given;
        }

        return config is { MScale: { } scale, MScaleAllDim: { } all } ? Scale(scale) / Scale(all) : Scale(1);

        double Scale(double coefficient) => config.Factor <= 1 ? 1 : (0.1 * coefficient * Math.Log(config.Factor)) + 1;
    }
}
