using Nibble.Kernels.Cuda;
using TorchSharp;

namespace Nibble.Kernels.Runtime;

/// <summary>One call of an operator of libnibble, made where its first tensor lies; all others must lie there too.</summary>
internal readonly ref struct KernelCall
{
    private readonly string operation;
    private readonly DeviceType type;
    private readonly int index;
    private readonly CudaDevice? gpu;
    private readonly Profiler.Scope measured;

    private KernelCall(string operation, DeviceType type, int index, CudaDevice? gpu)
    {
        measured = Profiler.Operator(operation);
        this.operation = operation;
        this.type = type;
        this.index = index;
        this.gpu = gpu;
    }

    /// <summary>The nibble_device to name; zero is the CPU.</summary>
    public nint Device => gpu?.View ?? 0;

    /// <summary>Begins a call of <paramref name="operation"/>, which runs where <paramref name="first"/> lies.</summary>
    public static KernelCall On(torch.Tensor first, string operation)
    {
        (DeviceType type, int index) = (first.device_type, first.device_index);
        if (type is not (DeviceType.CPU or DeviceType.CUDA))
        {
            throw new ArgumentException($"{operation}: the engine computes on cpu and cuda, not on {first.device}.");
        }

        CudaDevice? gpu = CudaDevice.Of(first);
        gpu?.Begin(operation);
        return new KernelCall(operation, type, index, gpu);
    }

    /// <summary>The address of a tensor's first element.</summary>
    /// <exception cref="ArgumentException">The tensor is not contiguous, or lies on another device than the first.</exception>
    public nint Address(torch.Tensor tensor, string argument)
    {
        if (tensor.device_type != type || tensor.device_index != index)
        {
            throw new ArgumentException(
                $"{operation}: '{argument}' {CudaDevice.Describe(tensor)} lies on {tensor.device}, others on {new torch.Device(type, index)}; all tensors of a call must lie on one device.");
        }

        if (!tensor.is_contiguous())
        {
            throw new ArgumentException($"{operation}: '{argument}' {CudaDevice.Describe(tensor)} must be contiguous.");
        }

        gpu?.Note(argument, tensor);
        return NativeMethods.THSTensor_data(tensor.Handle);
    }

    /// <summary>The address of an optional tensor.</summary>
    public nint AddressOrNull(torch.Tensor? tensor, string argument) => tensor is null ? 0 : Address(tensor, argument);

    /// <summary>Throws what a failed call says of itself.</summary>
    public void Check(int status)
    {
        if (gpu is null)
        {
            LibNibble.Check(status);
        }
        else
        {
            gpu.Check(status, operation);
        }
    }

    public void Dispose()
    {
        gpu?.End();
        measured.Dispose();
    }
}
