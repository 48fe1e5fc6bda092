using System.IO.MemoryMappedFiles;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Training.Optimization;

/// <summary>
/// Tensors in a file that is mapped into memory: the system pages them to the disk where memory is short. The file is of this
/// process only and goes with it; checkpoints have the states as always.
/// </summary>
internal sealed class MappedFile : IDisposable
{
    private const long Alignment = 64;

    private readonly FileStream file;
    private readonly MemoryMappedFile mapping;
    private readonly MemoryMappedViewAccessor view;
    private long end;

    /// <summary>Makes the file, with all of its space, so that no later write can find the disk full.</summary>
    /// <param name="folder">Where it lies.</param>
    /// <param name="bytes">What will be taken, each tensor rounded up to <see cref="Rounded"/>.</param>
    /// <exception cref="IOException">The disk has not so much space.</exception>
    public MappedFile(string folder, long bytes)
    {
        bytes = Math.Max(bytes, Alignment); // A file of no bytes cannot be mapped.
        file = new FileStream(Path.Combine(folder, $"offloaded.{Guid.NewGuid():N}.tmp"), new FileStreamOptions
        {
            Mode = FileMode.Create,
            Access = FileAccess.ReadWrite,
            PreallocationSize = bytes,
            Options = FileOptions.DeleteOnClose,
        });
        file.SetLength(bytes);
        mapping = MemoryMappedFile.CreateFromFile(file, null, bytes, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, leaveOpen: true);
        view = mapping.CreateViewAccessor(0, bytes, MemoryMappedFileAccess.ReadWrite);
    }

    /// <summary>Bytes that a tensor of so many takes in the file.</summary>
    public static long Rounded(long bytes) => (bytes + Alignment - 1) / Alignment * Alignment;

    /// <summary>Zeros in the file.</summary>
    public Tensor Add(ReadOnlySpan<long> shape, ScalarType dtype)
    {
        Tensor mapped = TensorMemory.FromBuffer(view.SafeMemoryMappedViewHandle, view.PointerOffset + end, shape, dtype);
        end += Rounded(mapped.NumberOfElements * mapped.ElementSize);
        return mapped;
    }

    /// <summary>Takes all tensors out of this process's memory; the system writes them to the file when it needs theirs.</summary>
    public void Release() => MappedPages.Release(view.SafeMemoryMappedViewHandle, view.PointerOffset, end);

    /// <inheritdoc/>
    public void Dispose()
    {
        view.Dispose();
        mapping.Dispose();
        file.Dispose();
    }
}
