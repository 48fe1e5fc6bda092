using System.Globalization;
using Nibble.Kernels.Cuda;
using Nibble.Kernels.Runtime;
using TorchSharp;

namespace Nibble.Kernels;

/// <summary>Where to compute, as people name it: <c>auto</c>, <c>cpu</c> or <c>cuda:N</c>.</summary>
public static class ComputeDevice
{
    /// <summary>The first GPU that can be used, else the CPU.</summary>
    public const string Auto = "auto";

    /// <summary>The CPU, whatever GPUs there are.</summary>
    public const string Cpu = "cpu";

    private const string Cuda = "cuda:";

    /// <summary>Finds the device.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="note">Told in one line what <c>auto</c> came to, and why.</param>
    /// <exception cref="ArgumentException">There is no device of this name.</exception>
    /// <exception cref="NotSupportedException">It is a GPU that cannot be used; the message says why.</exception>
    /// <exception cref="DllNotFoundException">There is no libtorch.</exception>
    public static torch.Device Choose(string name, Action<string> note)
    {
        ArgumentNullException.ThrowIfNull(note);
        Parse(name);
        LibTorch.EnsureLoaded(); // Nobody would hear what goes wrong while an assembly is being loaded.
        return name == Cpu ? torch.CPU : Choose(name, GpuReport.Read(), note);
    }

    /// <summary>Finds the device that <c>auto</c> or <c>cuda:N</c> means among the GPUs that there are.</summary>
    internal static torch.Device Choose(string name, GpuReport report, Action<string> note)
    {
        int ordinal = Parse(name);
        if (name == Auto)
        {
            GpuInfo? usable = Usable(report);
            note(usable is null ? $"Computing on the CPU: {report.Problem ?? report.Gpus[0].ToString()}." : $"Computing on {usable}.");
            return usable is null ? torch.CPU : new torch.Device(usable.Device);
        }

        string? problem = ordinal < report.Gpus.Count ? report.Gpus[ordinal].Problem : report.Problem ?? $"there are {report.Gpus.Count} GPUs";
        return problem is null
            ? new torch.Device(DeviceType.CUDA, ordinal)
            : throw new NotSupportedException($"device {name} cannot be used: {problem}.");
    }

    /// <summary>Whether a name means a GPU, without asking for that GPU; <c>auto</c> is what it would come to on this machine.</summary>
    public static bool NamesGpu(string name) => name == Auto ? Usable(GpuReport.Read()) is not null : name != Cpu;

    private static GpuInfo? Usable(GpuReport report) => report.Gpus.FirstOrDefault(gpu => gpu.Problem is null);

    /// <summary>Bytes of memory that the GPU of a device has in all; null for the CPU.</summary>
    public static long? GpuMemory(torch.Device device)
    {
        ArgumentNullException.ThrowIfNull(device);
        return (device.type == DeviceType.CUDA ? CudaDevice.Of(device.index) : EmulatedGpu.Current)?.TotalMemory;
    }

    /// <summary>Whether an exception, of the engine's kernels, of libtorch or of the runtime, says that memory ran out, a GPU's or the host's.</summary>
    public static bool MeansOutOfMemory(Exception exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        return exception is CudaException { IsOutOfMemory: true } or OutOfMemoryException
            || exception.Message.Contains("CUDA out of memory", StringComparison.Ordinal)
            || exception.Message.Contains("can't allocate memory", StringComparison.Ordinal); // libtorch's allocator for the CPU.
    }

    /// <summary>Checks a name without asking for a device.</summary>
    /// <returns>The N of <c>cuda:N</c>, 0 for the others.</returns>
    /// <exception cref="ArgumentException">There is no device of this name.</exception>
    public static int Parse(string name)
    {
        ArgumentNullException.ThrowIfNull(name);
        int ordinal = 0;
        bool known = name is Auto or Cpu
            || (name.StartsWith(Cuda, StringComparison.Ordinal) && int.TryParse(name[Cuda.Length..], NumberStyles.None, CultureInfo.InvariantCulture, out ordinal));
        return known ? ordinal : throw new ArgumentException($"device is '{name}'; it must be auto, cpu or cuda:N.");
    }
}
