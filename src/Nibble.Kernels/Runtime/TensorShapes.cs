using static TorchSharp.torch;

namespace Nibble.Kernels.Runtime;

/// <summary>Questions about shapes that make no array: one comes by a call back from native code, which takes as long as a small kernel.</summary>
internal static class TensorShapes
{
    /// <summary>Whether two tensors have the same dimensions.</summary>
    public static bool HasShapeOf(this Tensor tensor, Tensor other)
    {
        long dimensions = tensor.dim();
        if (dimensions != other.dim())
        {
            return false;
        }

        for (int i = 0; i < dimensions; i++)
        {
            if (tensor.size(i) != other.size(i))
            {
                return false;
            }
        }

        return true;
    }
}
