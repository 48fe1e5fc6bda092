using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using TorchSharp;

namespace Nibble.Kernels.Runtime;

/// <summary>The seam between tensors and raw memory; nothing above this assembly sees a pointer.</summary>
public static class TensorMemory
{
    /// <summary>Deleters that native tensors still hold; a collected delegate would be called after its end.</summary>
    private static readonly ConcurrentDictionary<Deleter, byte> Deleters = new();

    private delegate void Deleter(nint memory);

    /// <summary>
    /// A tensor over part of other memory, such as a mapped file, without a copy. The memory stays as long as the tensor's storage.
    /// </summary>
    /// <param name="buffer">The memory.</param>
    /// <param name="offset">Where the tensor begins, in bytes from the start of the buffer; a multiple of the element size.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="dtype">Its element type.</param>
    /// <exception cref="ArgumentException">The offset is not aligned, or the tensor does not fit into the buffer.</exception>
    public static unsafe torch.Tensor FromBuffer(SafeBuffer buffer, long offset, ReadOnlySpan<long> shape, torch.ScalarType dtype)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        LibTorch.EnsureLoaded();
        long count = 1;
        foreach (long size in shape)
        {
            count = checked(count * size);
        }

        long elementSize = ElementSize(dtype);
        if (offset < 0 || offset % elementSize != 0 || (ulong)offset + (ulong)(count * elementSize) > buffer.ByteLength)
        {
            throw new ArgumentException($"A tensor of {count} x {dtype} does not fit at byte {offset} of a buffer of {buffer.ByteLength} bytes.");
        }

        byte* start = null;
        buffer.AcquirePointer(ref start);
        Deleter deleter = null!;
        deleter = _ =>
        {
            buffer.ReleasePointer();
            Deleters.TryRemove(deleter, out byte _);
        };
        Deleters.TryAdd(deleter, 0);
        nint handle = NativeMethods.THSTensor_frombuffer(
            (nint)start, Marshal.GetFunctionPointerForDelegate(deleter), count, offset, (sbyte)dtype, (sbyte)dtype, (int)DeviceType.CPU, -1, 0);
        if (handle == 0)
        {
            deleter(0);
            throw new InvalidOperationException($"libtorch refused a view of {count} x {dtype}.");
        }

        using var flat = torch.Tensor.UnsafeCreateTensor(handle);
        return flat.view(shape.ToArray());
    }

    /// <summary>Bytes of one element.</summary>
    public static long ElementSize(torch.ScalarType dtype) => dtype switch
    {
        torch.ScalarType.Byte or torch.ScalarType.Int8 or torch.ScalarType.Bool => 1,
        torch.ScalarType.Float16 or torch.ScalarType.BFloat16 or torch.ScalarType.Int16 => 2,
        torch.ScalarType.Float32 or torch.ScalarType.Int32 => 4,
        torch.ScalarType.Float64 or torch.ScalarType.Int64 => 8,
        _ => throw new ArgumentException($"Tensors of {dtype} have no place in a checkpoint."),
    };

    /// <summary>Writes a contiguous CPU tensor's bytes as they lie in memory, without a copy of them.</summary>
    /// <exception cref="ArgumentException">The tensor is not contiguous, or not on the CPU.</exception>
    public static unsafe void Write(torch.Tensor tensor, Stream stream)
    {
        ArgumentNullException.ThrowIfNull(tensor);
        ArgumentNullException.ThrowIfNull(stream);
        const long Piece = 1 << 30; // A span's length is an int.
        byte* start = (byte*)Address(tensor, nameof(tensor));
        long bytes = tensor.NumberOfElements * ElementSize(tensor.dtype);
        for (long at = 0; at < bytes; at += Piece)
        {
            stream.Write(new ReadOnlySpan<byte>(start + at, (int)Math.Min(Piece, bytes - at)));
        }
    }

    /// <summary>The address of a contiguous CPU tensor's first element.</summary>
    internal static nint Address(torch.Tensor tensor, string name)
    {
        if (tensor.device_type != DeviceType.CPU)
        {
            throw new ArgumentException($"'{name}' lies on {tensor.device_type}; this is done on the CPU only.");
        }

        if (!tensor.is_contiguous())
        {
            throw new ArgumentException($"'{name}' must be contiguous.");
        }

        return NativeMethods.THSTensor_data(tensor.Handle);
    }
}
