using System.Runtime.CompilerServices;

namespace Nibble;

/// <summary>
/// Compiled into every assembly that uses tensors: whichever is touched first, the kernels' assembly then watches for TorchSharp,
/// to load libtorch from where it lies before TorchSharp searches for it (and, not finding it beside the application, copies it there).
/// </summary>
internal static class LibTorchFirst
{
#pragma warning disable CA2255 // TorchSharp offers no hook before its own search.
    [ModuleInitializer]
    internal static void Load() => RuntimeHelpers.RunModuleConstructor(typeof(Kernels.Runtime.LibTorch).Module.ModuleHandle);
#pragma warning restore CA2255
}
