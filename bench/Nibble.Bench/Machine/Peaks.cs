using System.Runtime.InteropServices;

namespace Nibble.Bench.Machine;

/// <summary>
/// The loops of <c>bench/peaks</c>: what the machine can do at best, by its own instructions and not by anyone's matrix product.
/// They run on the OpenMP threads that libtorch and libnibble use.
/// </summary>
internal static partial class Peaks
{
    private const string Library = "nibble_peaks";

    /// <summary>bfloat16 multiply-adds, or float32's where the machine has none.</summary>
    /// <returns>Operations made, two for a multiply-add.</returns>
    [LibraryImport(Library, EntryPoint = "nibble_peak_bf16")]
    public static partial long Bf16(int threads);

    /// <summary>float32 multiply-adds.</summary>
    /// <returns>As <see cref="Bf16"/>.</returns>
    [LibraryImport(Library, EntryPoint = "nibble_peak_float32")]
    public static partial long Float32(int threads);

    /// <summary>memcpy, shared out among threads; it moves twice that many bytes.</summary>
    [LibraryImport(Library, EntryPoint = "nibble_peak_copy")]
    public static partial void Copy(nint destination, nint source, long bytes, int threads);

    /// <summary>Loads every byte.</summary>
    [LibraryImport(Library, EntryPoint = "nibble_peak_read")]
    public static partial ulong Read(nint source, long bytes, int threads);
}
