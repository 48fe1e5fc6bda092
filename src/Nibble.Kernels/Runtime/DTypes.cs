using static TorchSharp.torch;

namespace Nibble.Kernels.Runtime;

/// <summary>nibble_dtype of the ABI.</summary>
internal enum DType
{
    F32 = 0,
    BF16 = 1,
    F16 = 2,
}

internal static class DTypes
{
    public static DType Of(Tensor tensor) => Of(tensor.dtype);

    public static DType Of(ScalarType dtype) => dtype switch
    {
        ScalarType.Float32 => DType.F32,
        ScalarType.BFloat16 => DType.BF16,
        ScalarType.Float16 => DType.F16,
        _ => throw new ArgumentException($"The kernels compute in float32, bfloat16 or float16, not in {dtype}."),
    };
}
