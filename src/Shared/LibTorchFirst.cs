using System.Runtime.CompilerServices;

namespace Nibble;

/// <summary>
/// Compiled into every assembly that uses tensors: whichever is touched first, libtorch is loaded from where it lies before
/// TorchSharp searches for it (and, not finding it beside the application, copies it there).
/// </summary>
internal static class LibTorchFirst
{
#pragma warning disable CA2255 // TorchSharp offers no hook before its own search.
    [ModuleInitializer]
    internal static void Load() => Kernels.Runtime.LibTorch.EnsureLoaded();
#pragma warning restore CA2255
}
