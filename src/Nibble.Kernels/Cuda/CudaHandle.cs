using Microsoft.Win32.SafeHandles;

namespace Nibble.Kernels.Cuda;

/// <summary>Something that a driver lent within one context, given back when disposed or collected.</summary>
internal abstract class CudaHandle(ICudaDriver driver, nint context) : SafeHandleZeroOrMinusOneIsInvalid(ownsHandle: true)
{
    protected ICudaDriver Driver => driver;

    /// <summary>The handle or address itself; valid while this object is.</summary>
    public nint Value
    {
        get
        {
            ObjectDisposedException.ThrowIf(IsClosed, this);
            return handle;
        }
    }

    /// <summary>Gives the handle back.</summary>
    protected abstract CudaStatus Release();

    /// <summary>The finalizer's thread has no context of its own.</summary>
    protected sealed override bool ReleaseHandle() =>
        driver.CtxSetCurrent(context) == CudaStatus.Success && Release() == CudaStatus.Success;
}
