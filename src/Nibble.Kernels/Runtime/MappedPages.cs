using System.Runtime.InteropServices;

namespace Nibble.Kernels.Runtime;

/// <summary>Pages of mapped files in this process's memory.</summary>
public static partial class MappedPages
{
    private const int DontNeed = 4;

    /// <summary>
    /// Gives back the memory of pages that lie wholly in a part of a mapped file. What is read there again comes from the file again, so
    /// views stay valid.
    /// </summary>
    /// <param name="buffer">The mapping; what was written to it must be the file's, not a copy of its own.</param>
    /// <param name="offset">Where the part begins, in bytes from the start of the buffer.</param>
    /// <param name="length">Its bytes.</param>
    public static unsafe void Release(SafeBuffer buffer, long offset, long length)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        if (!OperatingSystem.IsLinux())
        {
            return;
        }

        byte* start = null;
        buffer.AcquirePointer(ref start);
        try
        {
            long page = Environment.SystemPageSize;
            long first = ((long)start + offset + page - 1) / page * page;
            long end = ((long)start + offset + length) / page * page;
            if (first < end)
            {
                _ = Advise((nint)first, (nuint)(end - first), DontNeed); // Advice that is not taken costs memory only.
            }
        }
        finally
        {
            buffer.ReleasePointer();
        }
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(nint address, nuint length, int advice);
}
