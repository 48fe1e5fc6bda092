using System.Text.Json.Serialization;

namespace Nibble.Modeling.Adapters;

/// <summary>
/// Settings of a LoRA adapter (arXiv:2106.09685), with the names and meanings of PEFT's LoraConfig.
/// </summary>
public record LoraConfig
{
    /// <summary>In <see cref="TargetModules"/>: every linear layer of the decoder layers.</summary>
    public const string AllLinear = "all-linear";

    /// <summary>Rank of the update, 1 to 1024.</summary>
    public int R { get; init; } = 8;

    /// <summary>The update is scaled by alpha / r.</summary>
    public double LoraAlpha { get; init; } = 16;

    /// <summary>Dropout rate on the update's input, in [0, 1).</summary>
    public double LoraDropout { get; init; } = 0.05;

    /// <summary>Names (the end of a layer's path) that get an adapter, or the single entry <see cref="AllLinear"/>.</summary>
    public IReadOnlyList<string> TargetModules { get; init; } = ["q_proj", "k_proj", "v_proj", "o_proj"];

    /// <summary>Which biases learn: only <c>none</c> is supported.</summary>
    public string Bias { get; init; } = "none";

    /// <summary>Scales by alpha / sqrt(r) instead (rsLoRA, arXiv:2312.03732).</summary>
    public bool UseRslora { get; init; }

    /// <summary>
    /// Modules that are trained and saved whole: all whose path ends so, as in PEFT (<c>norm</c> means every norm, <c>model.norm</c> the last).
    /// </summary>
    public IReadOnlyList<string> ModulesToSave { get; init; } = [];

    /// <summary>Layers that get adapters; null for all.</summary>
    public IReadOnlyList<int>? LayersToTransform { get; init; }

    /// <summary>Factor on the update.</summary>
    [JsonIgnore]
    public float Scale => (float)(UseRslora ? LoraAlpha / Math.Sqrt(R) : LoraAlpha / R);

    /// <summary>Checks the values.</summary>
    /// <exception cref="ArgumentException">A value is out of its range; the message names the key.</exception>
    public LoraConfig Validated()
    {
        if (R is < 1 or > 1024)
        {
            throw new ArgumentException($"lora.r is {R}; it must lie in 1..1024.");
        }

        if (!double.IsFinite(LoraAlpha))
        {
            throw new ArgumentException($"lora.lora_alpha is {LoraAlpha}; it must be a finite number.");
        }

        if (LoraDropout is not (>= 0 and < 1))
        {
            throw new ArgumentException($"lora.lora_dropout is {LoraDropout}; it must lie in [0, 1).");
        }

        if (Bias != "none")
        {
            throw new ArgumentException($"lora.bias is '{Bias}'; none is supported.");
        }

        return TargetModules.Count == 0 && ModulesToSave.Count == 0
            ? throw new ArgumentException("lora.target_modules is empty: nothing would learn.")
            : this;
    }

    /// <summary>Whether a linear layer gets an adapter.</summary>
    /// <param name="path">Such as <c>model.layers.3.self_attn.q_proj</c>.</param>
    public bool Targets(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return ((TargetModules is [AllLinear] && path != "lm_head") || TargetModules.Any(target => EndsWithModule(path, target)))
            && (LayersToTransform is null || LayersToTransform.Contains(LayerOf(path)));
    }

    internal static bool EndsWithModule(string path, string module) => path == module || path.EndsWith($".{module}", StringComparison.Ordinal);

    private static int LayerOf(string path)
    {
        string[] parts = path.Split('.');
        int index = Array.IndexOf(parts, "layers");
        return index >= 0 && index + 1 < parts.Length && int.TryParse(parts[index + 1], out int layer) ? layer : -1;
    }
}
