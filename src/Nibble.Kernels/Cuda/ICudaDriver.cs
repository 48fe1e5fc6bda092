namespace Nibble.Kernels.Cuda;

/// <summary>
/// What the engine needs of a CUDA driver: its functions one to one, named without the prefix, with handles and addresses
/// as numbers. They answer a status and throw nothing; <see cref="CudaDriverCalls.Check"/> makes exceptions of it.
/// </summary>
internal interface ICudaDriver
{
    CudaStatus Init();

    /// <summary>1000 · major + 10 · minor of the newest CUDA that the driver knows.</summary>
    CudaStatus DriverGetVersion(out int version);

    string GetErrorName(CudaStatus status);

    string GetErrorString(CudaStatus status);

    CudaStatus DeviceGetCount(out int count);

    CudaStatus DeviceGet(out int device, int ordinal);

    CudaStatus DeviceGetName(out string name, int device);

    CudaStatus DeviceTotalMem(out long bytes, int device);

    CudaStatus DeviceGetAttribute(out int value, DeviceAttribute attribute, int device);

    CudaStatus DevicePrimaryCtxRetain(out nint context, int device);

    CudaStatus CtxSetCurrent(nint context);

    /// <summary>Loads PTX or a binary; text ends with a zero.</summary>
    CudaStatus ModuleLoadData(out nint module, byte[] image);

    CudaStatus ModuleUnload(nint module);

    CudaStatus ModuleGetFunction(out nint function, nint module, string name);

    /// <summary>Raises what a function may ask of dynamic shared memory.</summary>
    CudaStatus FuncSetMaxDynamicSharedMemory(nint function, int bytes);

    /// <summary>Queues a kernel of one parameter, a struct of <paramref name="argumentBytes"/>, over blocks of one axis.</summary>
    CudaStatus LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint threads, uint sharedBytes, nint stream, nint arguments, int argumentBytes);

    CudaStatus MemGetInfo(out long free, out long total);

    CudaStatus MemAlloc(out nint memory, long bytes);

    CudaStatus MemFree(nint memory);

    CudaStatus MemHostAlloc(out nint memory, long bytes);

    CudaStatus MemFreeHost(nint memory);

    CudaStatus MemcpyHtoDAsync(nint destination, nint source, long bytes, nint stream);

    CudaStatus MemcpyDtoHAsync(nint destination, nint source, long bytes, nint stream);

    CudaStatus StreamCreate(out nint stream);

    CudaStatus StreamDestroy(nint stream);

    CudaStatus StreamSynchronize(nint stream);

    CudaStatus StreamWaitEvent(nint stream, nint @event);

    CudaStatus EventCreate(out nint @event);

    CudaStatus EventDestroy(nint @event);

    CudaStatus EventRecord(nint @event, nint stream);
}

/// <summary>CUdevice_attribute.</summary>
internal enum DeviceAttribute
{
    MultiprocessorCount = 16,
    ComputeCapabilityMajor = 75,
    ComputeCapabilityMinor = 76,
    MaxSharedMemoryPerBlockOptin = 97,
}

internal static class CudaDriverCalls
{
    /// <summary>Throws unless a call succeeded.</summary>
    /// <param name="driver">Who answered.</param>
    /// <param name="status">The answer.</param>
    /// <param name="attempt">What was asked, as the sentence's beginning.</param>
    public static void Check(this ICudaDriver driver, CudaStatus status, string attempt)
    {
        if (status != CudaStatus.Success)
        {
            string advice = status.IsSticky() ? "; this process can use the GPU no more, start it again" : "";
            throw new CudaException($"{attempt}: {driver.GetErrorString(status)} ({driver.GetErrorName(status)}){advice}", status);
        }
    }
}
