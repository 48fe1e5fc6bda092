using System.Runtime.InteropServices;
using System.Text;
using ManagedCuda.BasicTypes;
using Nibble.Kernels.Cuda;
using static ManagedCuda.DriverAPINativeMethods;

namespace Nibble.Kernels.ManagedCuda;

/// <summary>The driver through the ManagedCuda-12 package; the engine finds it by its name.</summary>
internal sealed class ManagedCudaDriver : ICudaDriver
{
    public CudaStatus Init()
    {
        try
        {
            return Of(cuInit(CUInitializationFlags.None));
        }
        catch (DllNotFoundException exception)
        {
            throw new CudaException("there is no NVIDIA driver (libcuda.so cannot be loaded)", CudaStatus.NoDevice, exception);
        }
    }

    public CudaStatus DriverGetVersion(out int version)
    {
        version = 0;
        return Of(cuDriverGetVersion(ref version));
    }

    public string GetErrorName(CudaStatus status)
    {
        nint text = 0;
        return ErrorHandling.cuGetErrorName((CUResult)status, ref text) == CUResult.Success ? Marshal.PtrToStringUTF8(text)! : $"CUresult {(int)status}";
    }

    public string GetErrorString(CudaStatus status)
    {
        nint text = 0;
        return ErrorHandling.cuGetErrorString((CUResult)status, ref text) == CUResult.Success ? Marshal.PtrToStringUTF8(text)! : "unknown error";
    }

    public CudaStatus DeviceGetCount(out int count)
    {
        count = 0;
        return Of(DeviceManagement.cuDeviceGetCount(ref count));
    }

    public CudaStatus DeviceGet(out int device, int ordinal)
    {
        CUdevice found = default;
        CUResult result = DeviceManagement.cuDeviceGet(ref found, ordinal);
        device = found.Pointer;
        return Of(result);
    }

    public CudaStatus DeviceGetName(out string name, int device)
    {
        var text = new byte[256];
        CUResult result = DeviceManagement.cuDeviceGetName(text, text.Length, Device(device));
        name = Encoding.UTF8.GetString(text).TrimEnd('\0');
        return Of(result);
    }

    public CudaStatus DeviceTotalMem(out long bytes, int device)
    {
        SizeT size = 0;
        CUResult result = DeviceManagement.cuDeviceTotalMem_v2(ref size, Device(device));
        bytes = (long)size;
        return Of(result);
    }

    public CudaStatus DeviceGetAttribute(out int value, DeviceAttribute attribute, int device)
    {
        value = 0;
        return Of(DeviceManagement.cuDeviceGetAttribute(ref value, (CUDeviceAttribute)attribute, Device(device)));
    }

    public CudaStatus DevicePrimaryCtxRetain(out nint context, int device)
    {
        CUcontext retained = default;
        CUResult result = ContextManagement.cuDevicePrimaryCtxRetain(ref retained, Device(device));
        context = retained.Pointer;
        return Of(result);
    }

    public CudaStatus CtxSetCurrent(nint context) => Of(ContextManagement.cuCtxSetCurrent(new CUcontext { Pointer = context }));

    public CudaStatus ModuleLoadData(out nint module, byte[] image)
    {
        CUmodule loaded = default;
        CUResult result = ModuleManagement.cuModuleLoadData(ref loaded, image);
        module = loaded.Pointer;
        return Of(result);
    }

    public CudaStatus ModuleUnload(nint module) => Of(ModuleManagement.cuModuleUnload(new CUmodule { Pointer = module }));

    public CudaStatus ModuleGetFunction(out nint function, nint module, string name)
    {
        CUfunction found = default;
        CUResult result = ModuleManagement.cuModuleGetFunction(ref found, new CUmodule { Pointer = module }, name);
        function = found.Pointer;
        return Of(result);
    }

    public CudaStatus FuncSetMaxDynamicSharedMemory(nint function, int bytes) =>
        Of(FunctionManagement.cuFuncSetAttribute(new CUfunction { Pointer = function }, CUFunctionAttribute.MaxDynamicSharedSizeBytes, bytes));

    public CudaStatus LaunchKernel(
        nint function, uint gridX, uint gridY, uint gridZ, uint threads, uint sharedBytes, nint stream, nint arguments, int argumentBytes)
    {
        GCHandle size = GCHandle.Alloc((nint)argumentBytes, GCHandleType.Pinned);
        try
        {
            // CU_LAUNCH_PARAM_BUFFER_POINTER, CU_LAUNCH_PARAM_BUFFER_SIZE, CU_LAUNCH_PARAM_END.
            nint[] extra = [1, arguments, 2, size.AddrOfPinnedObject(), 0];
            return Of(Launch.cuLaunchKernel(new CUfunction { Pointer = function }, gridX, gridY, gridZ, threads, 1, 1, sharedBytes, Stream(stream), null, extra));
        }
        finally
        {
            size.Free();
        }
    }

    public CudaStatus MemGetInfo(out long free, out long total)
    {
        SizeT freeBytes = 0;
        SizeT totalBytes = 0;
        CUResult result = MemoryManagement.cuMemGetInfo_v2(ref freeBytes, ref totalBytes);
        (free, total) = ((long)freeBytes, (long)totalBytes);
        return Of(result);
    }

    public CudaStatus MemAlloc(out nint memory, long bytes)
    {
        CUdeviceptr allocated = default;
        CUResult result = MemoryManagement.cuMemAlloc_v2(ref allocated, bytes);
        memory = (nint)(long)allocated.Pointer;
        return Of(result);
    }

    public CudaStatus MemFree(nint memory) => Of(MemoryManagement.cuMemFree_v2(Memory(memory)));

    public CudaStatus MemHostAlloc(out nint memory, long bytes)
    {
        memory = 0;
        return Of(MemoryManagement.cuMemHostAlloc(ref memory, bytes, CUMemHostAllocFlags.None));
    }

    public CudaStatus MemFreeHost(nint memory) => Of(MemoryManagement.cuMemFreeHost(memory));

    public CudaStatus MemcpyHtoDAsync(nint destination, nint source, long bytes, nint stream) =>
        Of(AsynchronousMemcpy_v2.cuMemcpyHtoDAsync_v2(Memory(destination), source, bytes, Stream(stream)));

    public CudaStatus MemcpyDtoHAsync(nint destination, nint source, long bytes, nint stream) =>
        Of(AsynchronousMemcpy_v2.cuMemcpyDtoHAsync_v2(destination, Memory(source), bytes, Stream(stream)));

    public CudaStatus StreamCreate(out nint stream)
    {
        CUstream created = default;
        CUResult result = Streams.cuStreamCreate(ref created, CUStreamFlags.NonBlocking);
        stream = created.Pointer;
        return Of(result);
    }

    public CudaStatus StreamDestroy(nint stream) => Of(Streams.cuStreamDestroy_v2(Stream(stream)));

    public CudaStatus StreamSynchronize(nint stream) => Of(Streams.cuStreamSynchronize(Stream(stream)));

    public CudaStatus StreamWaitEvent(nint stream, nint @event) => Of(Streams.cuStreamWaitEvent(Stream(stream), Event(@event), 0));

    public CudaStatus EventCreate(out nint @event)
    {
        CUevent created = default;
        CUResult result = Events.cuEventCreate(ref created, CUEventFlags.DisableTiming);
        @event = created.Pointer;
        return Of(result);
    }

    public CudaStatus EventDestroy(nint @event) => Of(Events.cuEventDestroy_v2(Event(@event)));

    public CudaStatus EventRecord(nint @event, nint stream) => Of(Events.cuEventRecord(Event(@event), Stream(stream)));

    private static CudaStatus Of(CUResult result) => (CudaStatus)result;

    private static CUdevice Device(int device) => new() { Pointer = device };

    private static CUdeviceptr Memory(nint address) => new() { Pointer = (SizeT)(long)address };

    private static CUstream Stream(nint stream) => new() { Pointer = stream };

    private static CUevent Event(nint handle) => new() { Pointer = handle };
}
