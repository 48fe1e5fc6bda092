namespace Nibble.Modeling.Configuration;

/// <summary>Reads rotary settings in the forms of transformers 4 (<c>rope_theta</c>, <c>rope_scaling</c>) and 5 (<c>rope_parameters</c>).</summary>
internal static class RopeReader
{
    public static RopeConfig Read(ConfigJson json, int maxPositions)
    {
        double? outerTheta = json.OptionalNumber("rope_theta");
        ConfigJson? scaling = json.Section("rope_scaling");
        ConfigJson? section = json.Section("rope_parameters") ?? scaling;
        if (section is null)
        {
            return new RopeConfig { Theta = outerTheta ?? 10_000 };
        }

        string type = section.Text("rope_type") ?? section.Text("type") ?? "default";
        _ = section.Text("type");
        var basic = new RopeConfig { Theta = section.OptionalNumber("rope_theta") ?? outerTheta ?? 10_000 };
        section.RequireOnly("partial_rotary_factor", 1.0);
        RopeConfig config = type switch
        {
            "default" => basic,
            "linear" => basic with { Type = RopeType.Linear, Factor = section.Number("factor") },
            "dynamic" => basic with
            {
                Type = RopeType.Dynamic,
                Factor = section.Number("factor"),
                OriginalMaxPositionEmbeddings = section.Integer("original_max_position_embeddings", maxPositions),
            },
            "llama3" => basic with
            {
                Type = RopeType.Llama3,
                Factor = section.Number("factor"),
                LowFreqFactor = section.Number("low_freq_factor"),
                HighFreqFactor = section.Number("high_freq_factor"),
                OriginalMaxPositionEmbeddings = section.Integer("original_max_position_embeddings"),
            },
            "yarn" => Yarn(section, basic, maxPositions),
            _ => throw section.Error("rope_type", $"is '{type}'; default, linear, dynamic, llama3 and yarn are supported"),
        };
        section.RequireAllRead(new HashSet<string>());
        return config;
    }

    private static RopeConfig Yarn(ConfigJson section, RopeConfig basic, int maxPositions)
    {
        int original = section.Integer("original_max_position_embeddings", maxPositions);
        return basic with
        {
            Type = RopeType.Yarn,
            Factor = section.Number("factor", (double)maxPositions / original),
            OriginalMaxPositionEmbeddings = original,
            BetaFast = section.Number("beta_fast", 32),
            BetaSlow = section.Number("beta_slow", 1),
            AttentionFactor = section.OptionalNumber("attention_factor"),
            MScale = section.OptionalNumber("mscale"),
            MScaleAllDim = section.OptionalNumber("mscale_all_dim"),
            Truncate = section.Flag("truncate", true),
        };
    }
}
