using System.Runtime.InteropServices;

namespace Nibble.Kernels.Runtime;

/// <summary>dlopen with global symbols, which <see cref="NativeLibrary"/> does not offer.</summary>
internal static partial class DynamicLoader
{
    private const int Now = 2;
    private const int Global = 0x100;

    /// <summary>Loads a shared object by path and makes its symbols visible to the ones loaded after it.</summary>
    /// <remarks>libnibble is linked without an OpenMP runtime and takes the one of libtorch, so that both share one thread pool.</remarks>
    public static nint LoadGlobal(string path)
    {
        nint handle = Open(path, Now | Global);
        return handle != 0 ? handle : throw new DllNotFoundException($"{path} does not load: {Marshal.PtrToStringUTF8(LastError())}");
    }

    [LibraryImport("libc", EntryPoint = "dlopen", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "dlerror")]
    private static partial nint LastError();
}
