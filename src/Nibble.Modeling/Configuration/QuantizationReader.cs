namespace Nibble.Modeling.Configuration;

/// <summary>Reads <c>quantization_config</c>: folders whose linear layers bitsandbytes stored in NF4 are read, all others refused by name.</summary>
internal static class QuantizationReader
{
    /// <summary>Settings of bitsandbytes that do not change what a stored NF4 weight means.</summary>
    private static readonly HashSet<string> Descriptive =
    [
        "_load_in_4bit", "_load_in_8bit", "bnb_4bit_compute_dtype", "bnb_4bit_quant_storage", "bnb_4bit_use_double_quant",
        "llm_int8_enable_fp32_cpu_offload", "llm_int8_has_fp16_weight", "llm_int8_skip_modules", "llm_int8_threshold",
    ];

    public static bool IsNf4(ConfigJson json)
    {
        if (json.Section("quantization_config") is not { } section)
        {
            return false;
        }

        if (section.Text("quant_method") is { } method && method != "bitsandbytes")
        {
            throw section.Error("quant_method", $"is '{method}'; bitsandbytes NF4 folders are supported");
        }

        if (section.Flag("load_in_8bit", false) || !section.Flag("load_in_4bit", false))
        {
            throw section.Error("load_in_4bit", "is not set; of bitsandbytes' formats 4-bit NF4 is supported");
        }

        section.RequireOnly("bnb_4bit_quant_type", "nf4");
        section.RequireOnly("bnb_4bit_quant_storage", "uint8");
        section.RequireAllRead(Descriptive);
        return true;
    }
}
