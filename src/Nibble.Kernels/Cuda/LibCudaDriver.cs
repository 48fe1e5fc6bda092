using System.Runtime.InteropServices;

namespace Nibble.Kernels.Cuda;

/// <summary>The driver's own library, <c>libcuda.so.1</c>, or the one that the environment variable NIBBLE_CUDA_DRIVER names.</summary>
internal sealed unsafe partial class LibCudaDriver : ICudaDriver
{
    /// <summary>The name that imports go by; <see cref="Runtime.LibTorch"/> resolves it to <see cref="Handle"/>.</summary>
    public const string Name = "cuda";

    private const int NonBlocking = 1;
    private const int WithoutTiming = 2;
    private const int MaxDynamicSharedSizeBytes = 8;

    private static readonly Lazy<nint> Library = new(() => NativeLibrary.TryLoad(File, out nint handle) ? handle : 0);

    private LibCudaDriver()
    {
    }

    /// <summary>The library; zero where it cannot be loaded.</summary>
    public static nint Handle => Library.Value;

    private static string File => Environment.GetEnvironmentVariable("NIBBLE_CUDA_DRIVER") is { Length: > 0 } named ? named : "libcuda.so.1";

    /// <summary>Loads the library.</summary>
    /// <exception cref="CudaException">There is none.</exception>
    public static LibCudaDriver Load() =>
        Handle != 0 ? new LibCudaDriver() : throw new CudaException($"there is no NVIDIA driver ({File} cannot be loaded)", CudaStatus.NoDevice);

    public CudaStatus Init() => cuInit(0);

    public CudaStatus DriverGetVersion(out int version) => cuDriverGetVersion(out version);

    public string GetErrorName(CudaStatus status) => cuGetErrorName(status, out nint text) == CudaStatus.Success ? Text(text) : $"CUresult {(int)status}";

    public string GetErrorString(CudaStatus status) => cuGetErrorString(status, out nint text) == CudaStatus.Success ? Text(text) : "unknown error";

    public CudaStatus DeviceGetCount(out int count) => cuDeviceGetCount(out count);

    public CudaStatus DeviceGet(out int device, int ordinal) => cuDeviceGet(out device, ordinal);

    public CudaStatus DeviceGetName(out string name, int device)
    {
        byte* buffer = stackalloc byte[256];
        *buffer = 0;
        CudaStatus status = cuDeviceGetName(buffer, 256, device);
        name = Text((nint)buffer);
        return status;
    }

    public CudaStatus DeviceTotalMem(out long bytes, int device)
    {
        CudaStatus status = cuDeviceTotalMem_v2(out nuint size, device);
        bytes = (long)size;
        return status;
    }

    public CudaStatus DeviceGetAttribute(out int value, DeviceAttribute attribute, int device) => cuDeviceGetAttribute(out value, attribute, device);

    public CudaStatus DevicePrimaryCtxRetain(out nint context, int device) => cuDevicePrimaryCtxRetain(out context, device);

    public CudaStatus CtxSetCurrent(nint context) => cuCtxSetCurrent(context);

    public CudaStatus ModuleLoadData(out nint module, byte[] image)
    {
        fixed (byte* data = image)
        {
            return cuModuleLoadData(out module, data);
        }
    }

    public CudaStatus ModuleUnload(nint module) => cuModuleUnload(module);

    public CudaStatus ModuleGetFunction(out nint function, nint module, string name) => cuModuleGetFunction(out function, module, name);

    public CudaStatus FuncSetMaxDynamicSharedMemory(nint function, int bytes) => cuFuncSetAttribute(function, MaxDynamicSharedSizeBytes, bytes);

    public CudaStatus LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint threads, uint sharedBytes, nint stream, nint arguments, int argumentBytes)
    {
        // CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE, CU_LAUNCH_PARAM_END.
        nuint size = (nuint)argumentBytes;
        void** extra = stackalloc void*[] { (void*)1, (void*)arguments, (void*)2, &size, null };
        return cuLaunchKernel(function, gridX, gridY, gridZ, threads, 1, 1, sharedBytes, stream, null, extra);
    }

    public CudaStatus MemGetInfo(out long free, out long total)
    {
        CudaStatus status = cuMemGetInfo_v2(out nuint freeBytes, out nuint totalBytes);
        (free, total) = ((long)freeBytes, (long)totalBytes);
        return status;
    }

    public CudaStatus MemAlloc(out nint memory, long bytes) => cuMemAlloc_v2(out memory, (nuint)bytes);

    public CudaStatus MemFree(nint memory) => cuMemFree_v2(memory);

    public CudaStatus MemHostAlloc(out nint memory, long bytes) => cuMemHostAlloc(out memory, (nuint)bytes, 0);

    public CudaStatus MemFreeHost(nint memory) => cuMemFreeHost(memory);

    public CudaStatus MemcpyHtoDAsync(nint destination, nint source, long bytes, nint stream) =>
        cuMemcpyHtoDAsync_v2(destination, source, (nuint)bytes, stream);

    public CudaStatus MemcpyDtoHAsync(nint destination, nint source, long bytes, nint stream) =>
        cuMemcpyDtoHAsync_v2(destination, source, (nuint)bytes, stream);

    public CudaStatus StreamCreate(out nint stream) => cuStreamCreate(out stream, NonBlocking);

    public CudaStatus StreamDestroy(nint stream) => cuStreamDestroy_v2(stream);

    public CudaStatus StreamSynchronize(nint stream) => cuStreamSynchronize(stream);

    public CudaStatus StreamWaitEvent(nint stream, nint @event) => cuStreamWaitEvent(stream, @event, 0);

    public CudaStatus EventCreate(out nint @event) => cuEventCreate(out @event, WithoutTiming);

    public CudaStatus EventDestroy(nint @event) => cuEventDestroy_v2(@event);

    public CudaStatus EventRecord(nint @event, nint stream) => cuEventRecord(@event, stream);

    private static string Text(nint utf8) => Marshal.PtrToStringUTF8(utf8) ?? "";

    [LibraryImport(Name)]
    private static partial CudaStatus cuInit(uint flags);

    [LibraryImport(Name)]
    private static partial CudaStatus cuDriverGetVersion(out int version);

    [LibraryImport(Name)]
    private static partial CudaStatus cuGetErrorName(CudaStatus status, out nint text);

    [LibraryImport(Name)]
    private static partial CudaStatus cuGetErrorString(CudaStatus status, out nint text);

    [LibraryImport(Name)]
    private static partial CudaStatus cuDeviceGetCount(out int count);

    [LibraryImport(Name)]
    private static partial CudaStatus cuDeviceGet(out int device, int ordinal);

    [LibraryImport(Name)]
    private static partial CudaStatus cuDeviceGetName(byte* name, int length, int device);

    [LibraryImport(Name)]
    private static partial CudaStatus cuDeviceTotalMem_v2(out nuint bytes, int device);

    [LibraryImport(Name)]
    private static partial CudaStatus cuDeviceGetAttribute(out int value, DeviceAttribute attribute, int device);

    [LibraryImport(Name)]
    private static partial CudaStatus cuDevicePrimaryCtxRetain(out nint context, int device);

    [LibraryImport(Name)]
    private static partial CudaStatus cuCtxSetCurrent(nint context);

    [LibraryImport(Name)]
    private static partial CudaStatus cuModuleLoadData(out nint module, byte* image);

    [LibraryImport(Name)]
    private static partial CudaStatus cuModuleUnload(nint module);

    [LibraryImport(Name, StringMarshalling = StringMarshalling.Utf8)]
    private static partial CudaStatus cuModuleGetFunction(out nint function, nint module, string name);

    [LibraryImport(Name)]
    private static partial CudaStatus cuFuncSetAttribute(nint function, int attribute, int value);

    [LibraryImport(Name)]
    private static partial CudaStatus cuLaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint blockX, uint blockY, uint blockZ, uint sharedBytes, nint stream, void** parameters, void** extra);

    [LibraryImport(Name)]
    private static partial CudaStatus cuMemGetInfo_v2(out nuint free, out nuint total);

    [LibraryImport(Name)]
    private static partial CudaStatus cuMemAlloc_v2(out nint memory, nuint bytes);

    [LibraryImport(Name)]
    private static partial CudaStatus cuMemFree_v2(nint memory);

    [LibraryImport(Name)]
    private static partial CudaStatus cuMemHostAlloc(out nint memory, nuint bytes, uint flags);

    [LibraryImport(Name)]
    private static partial CudaStatus cuMemFreeHost(nint memory);

    [LibraryImport(Name)]
    private static partial CudaStatus cuMemcpyHtoDAsync_v2(nint destination, nint source, nuint bytes, nint stream);

    [LibraryImport(Name)]
    private static partial CudaStatus cuMemcpyDtoHAsync_v2(nint destination, nint source, nuint bytes, nint stream);

    [LibraryImport(Name)]
    private static partial CudaStatus cuStreamCreate(out nint stream, uint flags);

    [LibraryImport(Name)]
    private static partial CudaStatus cuStreamDestroy_v2(nint stream);

    [LibraryImport(Name)]
    private static partial CudaStatus cuStreamSynchronize(nint stream);

    [LibraryImport(Name)]
    private static partial CudaStatus cuStreamWaitEvent(nint stream, nint @event, uint flags);

    [LibraryImport(Name)]
    private static partial CudaStatus cuEventCreate(out nint @event, uint flags);

    [LibraryImport(Name)]
    private static partial CudaStatus cuEventDestroy_v2(nint @event);

    [LibraryImport(Name)]
    private static partial CudaStatus cuEventRecord(nint @event, nint stream);
}
