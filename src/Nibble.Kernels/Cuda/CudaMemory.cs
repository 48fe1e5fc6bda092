using System.Runtime.InteropServices;

namespace Nibble.Kernels.Cuda;

/// <summary>Memory of a GPU.</summary>
internal sealed class DeviceMemory : CudaHandle
{
    /// <exception cref="CudaException">There is not enough left.</exception>
    public DeviceMemory(ICudaDriver driver, nint context, long bytes)
        : base(driver, context)
    {
        CudaStatus status = driver.MemAlloc(out nint memory, bytes);
        string left = status == CudaStatus.OutOfMemory && driver.MemGetInfo(out long free, out long total) == CudaStatus.Success
            ? $" ({free:N0} of {total:N0} are free)"
            : "";
        driver.Check(status, FormattableString.Invariant($"no {bytes:N0} bytes of GPU memory{left}"));
        SetHandle(memory);
    }

    protected override CudaStatus Release() => Driver.MemFree(handle);
}

/// <summary>Memory of the host that stays where it is, so that copies to and from a GPU run beside other work.</summary>
internal sealed class PinnedMemory : SafeBuffer
{
    private readonly ICudaDriver driver;
    private readonly nint context;

    /// <exception cref="CudaException">There is not enough left.</exception>
    public PinnedMemory(ICudaDriver driver, nint context, long bytes)
        : base(ownsHandle: true)
    {
        this.driver = driver;
        this.context = context;
        driver.Check(driver.MemHostAlloc(out nint memory, bytes), FormattableString.Invariant($"no {bytes:N0} bytes of pinned host memory"));
        SetHandle(memory);
        Initialize((ulong)bytes);
    }

    /// <summary>The first byte; valid while this object is.</summary>
    public nint Address
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return handle;
        }
    }

    /// <summary>Fills it with zeros.</summary>
    public unsafe void Clear() => NativeMemory.Clear((void*)Address, (nuint)ByteLength);

    protected override bool ReleaseHandle() =>
        driver.CtxSetCurrent(context) == CudaStatus.Success && driver.MemFreeHost(handle) == CudaStatus.Success;
}
