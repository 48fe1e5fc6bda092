using static TorchSharp.torch;

namespace Nibble.Modeling.Checkpoints;

/// <summary>
/// The names that configuration files give to dtypes. What is asked of a name alone needs no libtorch, which is loaded with the first type of TorchSharp.
/// </summary>
public static class DTypeNames
{
    /// <summary>float32, bfloat16 or float16.</summary>
    public static string Of(ScalarType dtype) => dtype switch
    {
        ScalarType.Float32 => "float32",
        ScalarType.BFloat16 => "bfloat16",
        ScalarType.Float16 => "float16",
        _ => throw new ArgumentException($"{dtype} is no compute dtype."),
    };

    /// <summary>Bytes of one element.</summary>
    public static long Bytes(ScalarType dtype) => dtype == ScalarType.Float32 ? sizeof(float) : sizeof(ushort);

    /// <summary>Bytes of one element of a dtype of this name.</summary>
    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public static long Bytes(string name) => InFull(name) == "float32" ? sizeof(float) : sizeof(ushort);

    /// <summary>The dtype of a name.</summary>
    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public static ScalarType Parse(string name) => InFull(name) switch
    {
        "float32" => ScalarType.Float32,
        "bfloat16" => ScalarType.BFloat16,
        _ => ScalarType.Float16,
    };

    /// <summary>float32, bfloat16 or float16, for a name that may be short.</summary>
    /// <exception cref="ArgumentException">There is no dtype of that name.</exception>
    public static string InFull(string name) => name switch
    {
        "float32" or "fp32" => "float32",
        "bfloat16" or "bf16" => "bfloat16",
        "float16" or "fp16" => "float16",
        _ => throw new ArgumentException($"dtype '{name}' is not known; float32, bfloat16 and float16 are."),
    };
}
