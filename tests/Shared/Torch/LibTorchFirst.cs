using System.Runtime.CompilerServices;

namespace Nibble.Tests;

/// <summary>Tests touch tensors before anything of the engine; TorchSharp's own search would then copy libtorch beside them.</summary>
internal static class LibTorchFirst
{
    [ModuleInitializer]
    internal static void Load() => Kernels.Runtime.LibTorch.EnsureLoaded();
}
