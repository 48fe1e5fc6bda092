using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Nibble.Kernels.Runtime;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Kernels.Cuda;

/// <summary>
/// A GPU as libnibble sees it. libnibble decides which kernels run; this launches them through the driver, in the primary
/// context that libtorch uses as well and on its stream, the legacy default stream, so that kernels and libtorch's own
/// operators follow each other in the order of their calls.
/// </summary>
internal sealed unsafe class CudaDevice
{
    /// <summary>The oldest generation that the kernels run on: Turing.</summary>
    private const int OldestComputeCapability = 75;

    /// <summary>The emulation has its kernels built in and takes anything for an image.</summary>
    private static readonly CudaImage Placeholder = new("its image", OldestComputeCapability);

    // Failures are not kept: a driver that does not start now may start later.
    private static readonly Lazy<ICudaDriver> SharedDriver = new(StartDriver, LazyThreadSafetyMode.PublicationOnly);
    private static readonly ConcurrentDictionary<int, Lazy<CudaDevice>> Opened = new();

    private readonly ICudaDriver driver;
    private readonly nint context;
    private readonly CudaModule module;
    private readonly NativeMethods.Device* view;
    private readonly bool emulated;

    // Of the call under way, which holds the gate.
    private readonly Lock gate = new();
    private readonly List<IDisposable> workspaces = [];
    private readonly List<(string Name, Tensor Tensor)> arguments = [];
    private CudaException? failure;

    private CudaDevice(ICudaDriver driver, int ordinal, IReadOnlyList<CudaImage> images, bool emulated)
    {
        this.driver = driver;
        this.emulated = emulated;
        Ordinal = ordinal;
        driver.Check(driver.DeviceGet(out int device, ordinal), $"there is no {this}");
        driver.Check(driver.DeviceGetName(out string name, device), $"{this} does not answer");
        int capability = CapabilityOf(driver, device);
        CudaImage? image = CudaImage.Best(images, capability);
        if (ProblemOf(capability, image) is { } problem)
        {
            throw new NotSupportedException($"{this} ({name}, sm_{capability}) cannot be used: {problem}.");
        }

        driver.Check(driver.DevicePrimaryCtxRetain(out context, device), $"{this} ({name}) cannot be used");
        driver.Check(driver.CtxSetCurrent(context), $"{this} ({name}) cannot be used");
        module = Load(emulated ? [0] : image!.Read(), $"{this} ({name}, sm_{capability}) does not load {image!.Name}");
        // For the rest of the process, as libtorch keeps its context.
        view = (NativeMethods.Device*)NativeMemory.AllocZeroed((nuint)sizeof(NativeMethods.Device));
        view->ComputeCapability = capability;
        view->Multiprocessors = Attribute(driver, DeviceAttribute.MultiprocessorCount, device);
        view->SharedBytesPerBlock = Attribute(driver, DeviceAttribute.MaxSharedMemoryPerBlockOptin, device);
        view->Context = GCHandle.ToIntPtr(GCHandle.Alloc(this));
        view->Launch = &Launch;
        view->Workspace = &Workspace;
    }

    /// <summary>The driver of this process.</summary>
    /// <exception cref="CudaException">There is none, or it finds no GPU.</exception>
    public static ICudaDriver Driver => SharedDriver.Value;

    /// <summary>The <c>n</c> of <c>cuda:n</c>.</summary>
    public int Ordinal { get; }

    /// <summary>Bytes of memory that it has in all.</summary>
    public long TotalMemory
    {
        get
        {
            driver.Check(driver.DeviceGet(out int device, Ordinal), $"there is no {this}");
            driver.Check(driver.DeviceTotalMem(out long bytes, device), $"{this} does not answer");
            return bytes;
        }
    }

    /// <summary>The nibble_device for calls of libnibble.</summary>
    public nint View => (nint)view;

    /// <summary>The GPU that libtorch calls <c>cuda:ordinal</c>; opened once, for the process.</summary>
    public static CudaDevice Of(int ordinal) =>
        Opened.GetOrAdd(ordinal, n => new Lazy<CudaDevice>(() => new CudaDevice(Driver, n, CudaImage.OfBuild, emulated: false), LazyThreadSafetyMode.PublicationOnly)).Value;

    /// <summary>The GPU whose kernels compute a tensor; null for the CPU.</summary>
    public static CudaDevice? Of(Tensor tensor) => tensor.device_type == DeviceType.CUDA ? Of(tensor.device_index) : EmulatedGpu.Current;

    /// <summary>
    /// For tests: a GPU of the emulation, whose memory is the host's and whose kernels are built into it, so that any image
    /// will do, if there is one. Its operators are given CPU tensors, see <see cref="EmulatedGpu"/>.
    /// </summary>
    public static CudaDevice Emulated(ICudaDriver driver, int ordinal, bool hasImage = true) => new(driver, ordinal, hasImage ? [Placeholder] : [], emulated: true);

    /// <summary>Major and minor version of a chip as two digits: 86.</summary>
    public static int CapabilityOf(ICudaDriver driver, int device) =>
        (10 * Attribute(driver, DeviceAttribute.ComputeCapabilityMajor, device)) + Attribute(driver, DeviceAttribute.ComputeCapabilityMinor, device);

    /// <summary>Why the kernels do not run on a chip; null when they do.</summary>
    public static string? ProblemOf(int computeCapability, CudaImage? image) =>
        computeCapability < OldestComputeCapability ? $"it is older than what the kernels need, Turing (sm_{OldestComputeCapability})"
        : image is null ? "this build has no CUDA kernels for it; ./build.sh --target=Cuda makes them, then build again"
        : null;

    /// <summary>Begins an operator's call; until <see cref="End"/> no other thread makes one.</summary>
    public void Begin(string operation)
    {
        gate.Enter();
        try
        {
            driver.Check(driver.CtxSetCurrent(context), $"{operation}: {this} cannot be used");
        }
        catch
        {
            gate.Exit();
            throw;
        }
    }

    /// <summary>Notes an argument of the call, for what an error says of it.</summary>
    public void Note(string name, Tensor tensor) => arguments.Add((name, tensor));

    /// <summary>Throws what went wrong with the call: an argument that libnibble refused, or what the GPU or its driver refused.</summary>
    public void Check(int status, string operation)
    {
        if (status != 0 && failure is not null)
        {
            string tensors = string.Join(", ", arguments.Select(item => $"{item.Name} {Describe(item.Tensor)}"));
            throw new CudaException($"{operation} on {this} with {tensors}: {failure.Message}", failure.Status, failure);
        }

        LibNibble.Check(status);
    }

    /// <summary>Ends the call. Its workspaces may be handed out again: what uses them next is queued behind it.</summary>
    public void End()
    {
        workspaces.ForEach(memory => memory.Dispose());
        workspaces.Clear();
        arguments.Clear();
        failure = null;
        gate.Exit();
    }

    public DeviceMemory Allocate(long bytes)
    {
        Use();
        return new DeviceMemory(driver, context, bytes);
    }

    public PinnedMemory AllocatePinned(long bytes)
    {
        Use();
        return new PinnedMemory(driver, context, bytes);
    }

    public CudaStream CreateStream()
    {
        Use();
        return new CudaStream(driver, context);
    }

    public CudaEvent CreateEvent()
    {
        Use();
        return new CudaEvent(driver, context);
    }

    public override string ToString() => $"cuda:{Ordinal}";

    internal static string Describe(Tensor tensor) => $"[{string.Join(", ", tensor.shape)}] {tensor.dtype}";

    /// <summary>Driver calls go to the context that is current on their thread.</summary>
    public void Use() => driver.Check(driver.CtxSetCurrent(context), $"{this} cannot be used");

    /// <summary>The driver of the optional assembly where that lies beside the application, else the driver's own library.</summary>
    private static ICudaDriver StartDriver()
    {
        ICudaDriver driver = Type.GetType("Nibble.Kernels.ManagedCuda.ManagedCudaDriver, Nibble.Kernels.ManagedCuda") is { } added
            ? (ICudaDriver)Activator.CreateInstance(added)!
            : LibCudaDriver.Load();
        driver.Check(driver.Init(), "the NVIDIA driver does not start");
        return driver;
    }

    private CudaModule Load(byte[] image, string attempt)
    {
        try
        {
            return new CudaModule(driver, context, image, attempt);
        }
        catch (CudaException exception) when (exception.Status.RefusesImage() && driver.DriverGetVersion(out int version) == CudaStatus.Success)
        {
            throw new CudaException(
                $"{exception.Message}; the driver, made for CUDA {version / 1000}.{version % 1000 / 10}, is older than the kernels: update it", exception.Status, exception);
        }
    }

    private static int Attribute(ICudaDriver driver, DeviceAttribute attribute, int device)
    {
        driver.Check(driver.DeviceGetAttribute(out int value, attribute, device), $"GPU {device} does not tell its {attribute}");
        return value;
    }

    /// <summary>What went wrong stands in <see cref="failure"/>; libnibble's text has nothing to add.</summary>
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static int Launch(nint context, NativeMethods.Launch* request, byte* error, int errorBytes)
    {
        var device = (CudaDevice)GCHandle.FromIntPtr(context).Target!;
        try
        {
            string kernel = Marshal.PtrToStringUTF8(request->Kernel)!;
            device.module.Launch(
                kernel, new ReadOnlySpan<uint>(request->Grid, 3), request->Threads, request->SharedBytes, stream: 0, request->Arguments, (int)request->ArgumentBytes);
            return 0;
        }
        catch (Exception exception)
        {
            // No exception may pass through native code: Check throws it on the other side.
            device.failure = exception as CudaException ?? new CudaException(exception.Message, CudaStatus.LaunchFailed, exception);
            return LibNibble.DeviceError;
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nint Workspace(nint context, ulong bytes)
    {
        var device = (CudaDevice)GCHandle.FromIntPtr(context).Target!;
        try
        {
            return bytes == 0 ? 0 : device.Reserve((long)bytes);
        }
        catch (Exception exception)
        {
            device.failure = exception as CudaException ?? new CudaException(exception.Message, CudaStatus.OutOfMemory, exception);
            return 0;
        }
    }

    /// <summary>Memory of libtorch's caching pool, which would otherwise hold what the driver no longer has.</summary>
    private nint Reserve(long bytes)
    {
        if (emulated)
        {
            DeviceMemory memory = Allocate(bytes);
            workspaces.Add(memory);
            return memory.Value;
        }

        Tensor block = empty(bytes, ScalarType.Byte, new Device(DeviceType.CUDA, Ordinal)).DetachFromDisposeScope();
        workspaces.Add(block);
        return NativeMethods.THSTensor_data(block.Handle);
    }
}
