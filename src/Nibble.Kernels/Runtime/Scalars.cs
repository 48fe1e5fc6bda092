using TorchSharp;

namespace Nibble.Kernels.Runtime;

/// <summary>Scalars that are kept, because the collector may free one that nobody holds while libtorch reads it.</summary>
internal static class Scalars
{
    public static readonly Scalar One = 1;
}
