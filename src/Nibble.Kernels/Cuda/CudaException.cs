namespace Nibble.Kernels.Cuda;

/// <summary>A GPU or its driver refused. The message is one line and names what was asked, and the driver's own words.</summary>
public sealed class CudaException : Exception
{
    internal CudaException(string message, CudaStatus status, Exception? inner = null)
        : base(message, inner) => Status = status;

    /// <summary>Whether memory ran out, the GPU's or pinned memory of the host; the process can go on with less.</summary>
    public bool IsOutOfMemory => Status == CudaStatus.OutOfMemory;

    /// <summary>Whether the process can use the GPU no more.</summary>
    public bool IsFatal => Status.IsSticky();

    internal CudaStatus Status { get; }
}
