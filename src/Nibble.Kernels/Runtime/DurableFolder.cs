using System.Runtime.InteropServices;

namespace Nibble.Kernels.Runtime;

/// <summary>Folders on the disk: a file that was made or renamed is there after a power loss only if its folder was synced too.</summary>
public static partial class DurableFolder
{
    private const int PermissionDenied = 13;
    private const int InvalidArgument = 22;

    /// <summary>Makes a folder and those above it, where they are missing, so that they outlast a power loss.</summary>
    public static void Create(string folder)
    {
        folder = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        if (!Directory.Exists(folder) && Path.GetDirectoryName(folder) is { } above)
        {
            Create(above);
            Directory.CreateDirectory(folder);
            Sync(above);
        }
    }

    /// <summary>Waits until the names in a folder are on the disk; does nothing where a system or file system cannot be asked to.</summary>
    /// <exception cref="IOException">The folder is missing, or the disk failed.</exception>
    public static void Sync(string folder)
    {
        if (!OperatingSystem.IsLinux() && !OperatingSystem.IsMacOS())
        {
            return;
        }

        int descriptor = Open(folder, 0);
        if (descriptor >= 0)
        {
            int status = Synchronize(descriptor);
            int error = Marshal.GetLastPInvokeError();
            _ = Close(descriptor);
            Require(status == 0 || error == InvalidArgument, folder, error);
        }
        else
        {
            int error = Marshal.GetLastPInvokeError();
            Require(error == PermissionDenied, folder, error); // Who may write to a folder may still not read it.
        }
    }

    private static void Require(bool fine, string folder, int error)
    {
        if (!fine)
        {
            throw new IOException($"{Marshal.GetPInvokeErrorMessage(error)} : '{folder}'");
        }
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int Synchronize(int descriptor);

    [LibraryImport("libc", EntryPoint = "close")]
    private static partial int Close(int descriptor);
}
