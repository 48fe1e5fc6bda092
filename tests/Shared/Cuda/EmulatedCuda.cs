using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Nibble.Kernels.Cuda;

namespace Nibble.Tests;

/// <summary>The emulated GPUs, which native/simt builds beside the native tests; tests that need them skip where they are absent.</summary>
internal static class EmulatedCuda
{
    /// <summary>Turing, Ampere and Hopper.</summary>
    public const int Gpus = 3;

    private static readonly string Library =
        Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../../native/release/simt/libnibble_cuda_emulated.so"));

    [ModuleInitializer]
    internal static void TakeThePlaceOfTheDriver() => Environment.SetEnvironmentVariable("NIBBLE_CUDA_DRIVER", Library);

    /// <summary>A GPU whose driver notes what it is asked, and can be told to refuse, from the start by <paramref name="prepare"/>.</summary>
    public static CudaDevice Open(int ordinal, out DriverWitness witness, Action<DriverWitness>? prepare = null)
    {
        if (!File.Exists(Library))
        {
            Assert.Skip($"{Library} is not built: cmake --preset release -DNIBBLE_BUILD_TESTS=ON, in native/.");
        }

        ICudaDriver driver = DriverWitness.Of(CudaDevice.Driver, out witness);
        prepare?.Invoke(witness);
        return CudaDevice.Emulated(driver, ordinal);
    }

    /// <summary>Gives the emulated GPUs so much memory until it is disposed, then what they had.</summary>
    public static IDisposable WithMemory(long bytes) => new Memory(bytes);

    private sealed class Memory : IDisposable
    {
        private static readonly SetMemory Set = Marshal.GetDelegateForFunctionPointer<SetMemory>(NativeLibrary.GetExport(NativeLibrary.Load(Library), "nibble_simt_set_memory"));

        public Memory(long bytes) => Set((ulong)bytes);

        private delegate void SetMemory(ulong bytes);

        public void Dispose() => Set(1UL << 34);
    }
}

/// <summary>Stands before a driver: counts its calls, and answers in its place where a test says so.</summary>
internal class DriverWitness : DispatchProxy
{
    private readonly Dictionary<string, int> calls = [];
    private ICudaDriver driver = null!;

    /// <summary>Statuses to answer with, by function.</summary>
    public Dictionary<string, CudaStatus> Refusals { get; } = [];

    /// <summary>Of a function and the number of its call: the status to answer with.</summary>
    public Func<string, int, CudaStatus>? RefuseWhen { get; set; }

    /// <summary>GPUs to answer that there are.</summary>
    public int? Gpus { get; set; }

    /// <summary>Values to answer with for attributes of a GPU.</summary>
    public Dictionary<DeviceAttribute, int> Attributes { get; } = [];

    public static ICudaDriver Of(ICudaDriver driver, out DriverWitness witness)
    {
        ICudaDriver proxy = Create<ICudaDriver, DriverWitness>();
        witness = (DriverWitness)proxy;
        witness.driver = driver;
        return proxy;
    }

    /// <summary>How often a function was called.</summary>
    public int Calls(string function) => calls.GetValueOrDefault(function);

    protected override object? Invoke(MethodInfo? targetMethod, object?[]? args)
    {
        string name = targetMethod!.Name;
        calls[name] = Calls(name) + 1;
        CudaStatus refusal = RefuseWhen?.Invoke(name, calls[name]) ?? Refusals.GetValueOrDefault(name);
        if (refusal != CudaStatus.Success)
        {
            foreach (ParameterInfo parameter in targetMethod.GetParameters().Where(parameter => parameter.IsOut))
            {
                args![parameter.Position] = Activator.CreateInstance(parameter.ParameterType.GetElementType()!);
            }

            return refusal;
        }

        if (name == nameof(ICudaDriver.DeviceGetCount) && Gpus is { } gpus)
        {
            args![0] = gpus;
            return CudaStatus.Success;
        }

        if (name == nameof(ICudaDriver.DeviceGetAttribute) && Attributes.TryGetValue((DeviceAttribute)args![1]!, out int value))
        {
            args[0] = value;
            return CudaStatus.Success;
        }

        return targetMethod.Invoke(driver, args);
    }
}
