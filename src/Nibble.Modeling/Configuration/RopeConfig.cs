namespace Nibble.Modeling.Configuration;

/// <summary>How rotary frequencies are stretched beyond the trained context.</summary>
public enum RopeType
{
    /// <summary>theta^(-2i/d), as trained.</summary>
    Default,

    /// <summary>All frequencies divided by a factor (position interpolation, arXiv:2306.15595).</summary>
    Linear,

    /// <summary>The base grows with the sequence beyond the trained length (dynamic NTK).</summary>
    Dynamic,

    /// <summary>Llama 3.1: low frequencies divided, high ones kept, a ramp between.</summary>
    Llama3,

    /// <summary>YaRN (arXiv:2309.00071).</summary>
    Yarn,
}

/// <summary>Rotary embedding settings: <c>rope_parameters</c> of transformers 5, <c>rope_theta</c> and <c>rope_scaling</c> of 4.x.</summary>
public sealed record RopeConfig
{
    /// <summary>The stretching.</summary>
    public RopeType Type { get; init; } = RopeType.Default;

    /// <summary>Base of the frequencies.</summary>
    public double Theta { get; init; } = 10_000;

    /// <summary>How many times the trained length the context becomes.</summary>
    public double Factor { get; init; } = 1;

    /// <summary>Trained context length in tokens; llama3 and yarn.</summary>
    public int OriginalMaxPositionEmbeddings { get; init; }

    /// <summary>llama3: wavelengths above original / this are divided.</summary>
    public double LowFreqFactor { get; init; } = 1;

    /// <summary>llama3: wavelengths below original / this are kept.</summary>
    public double HighFreqFactor { get; init; } = 4;

    /// <summary>yarn: rotations over the trained length above which a dimension is kept.</summary>
    public double BetaFast { get; init; } = 32;

    /// <summary>yarn: rotations below which a dimension is divided.</summary>
    public double BetaSlow { get; init; } = 1;

    /// <summary>yarn: factor on cos and sin; null for 0.1 ln(factor) + 1.</summary>
    public double? AttentionFactor { get; init; }

    /// <summary>yarn: with <see cref="MScaleAllDim"/>, the two coefficients whose ratio replaces the attention factor.</summary>
    public double? MScale { get; init; }

    /// <summary>See <see cref="MScale"/>.</summary>
    public double? MScaleAllDim { get; init; }

    /// <summary>yarn: whether the ramp's ends are rounded to whole dimensions.</summary>
    public bool Truncate { get; init; } = true;
}
