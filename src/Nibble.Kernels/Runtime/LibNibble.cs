using System.Runtime.InteropServices;

namespace Nibble.Kernels.Runtime;

/// <summary>Finds and loads libnibble, the native core, and turns its status codes into exceptions.</summary>
internal static class LibNibble
{
    public const string Name = "nibble";

    /// <summary>NIBBLE_INVALID_ARGUMENT.</summary>
    public const int InvalidArgument = 1;

    /// <summary>NIBBLE_DEVICE_ERROR.</summary>
    public const int DeviceError = 4;

    private const string File = "libnibble.so";

    private static readonly Lazy<nint> Library = new(Load);

    public static nint Handle => Library.Value;

    /// <summary>Throws what a failed call says of itself.</summary>
    /// <exception cref="ArgumentException">An argument was refused.</exception>
    /// <exception cref="InsufficientMemoryException">The kernel's scratch memory could not be had.</exception>
    public static void Check(int status)
    {
        if (status == 0)
        {
            return;
        }

        throw status switch
        {
            InvalidArgument => new ArgumentException(LastError()),
            2 => new InsufficientMemoryException(LastError()),
            _ => new InvalidOperationException(LastError()),
        };
    }

    /// <summary>What the last failed call of this thread says of itself.</summary>
    public static string LastError() => Marshal.PtrToStringUTF8(NativeMethods.nibble_last_error()) ?? "unknown error";

    private static nint Load()
    {
        LibTorch.EnsureLoaded(); // libnibble takes its OpenMP runtime from libtorch.
        foreach (string folder in NativeFolders.Candidates())
        {
            string path = Path.Combine(folder, File);
            if (System.IO.File.Exists(path))
            {
                nint handle = NativeLibrary.Load(path);
                RequireAbi(handle, path);
                GiveTensorsItsMemory(handle);
                return handle;
            }
        }

        throw new DllNotFoundException(
            $"{File} was not found beside the application in {AppContext.BaseDirectory}. In a source tree run './build.sh --target=Build', which compiles it.");
    }

    /// <summary>
    /// From now on libtorch's tensors lie in libnibble's blocks, which are handed out again from step to step; the C library's heap
    /// would grow around the activations of a step to half as much again as is alive.
    /// </summary>
    private static unsafe void GiveTensorsItsMemory(nint handle)
    {
        const byte OverTheDefault = 1;
        var allocator = (delegate* unmanaged<nint, nint>)NativeLibrary.GetExport(handle, "nibble_torch_allocator");
        NativeMethods.c10_SetCPUAllocator(allocator(NativeMethods.c10_GetCPUAllocator()), OverTheDefault);
    }

    private static unsafe void RequireAbi(nint handle, string path)
    {
        var version = (delegate* unmanaged<int>)NativeLibrary.GetExport(handle, nameof(NativeMethods.nibble_abi_version));
        int found = version();
        if (found != NativeMethods.AbiVersion)
        {
            throw new DllNotFoundException($"{path} has ABI version {found}, this engine needs {NativeMethods.AbiVersion}: the files are of different builds.");
        }
    }
}
