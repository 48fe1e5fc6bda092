using System.Globalization;
using TorchSharp;

namespace Nibble.Kernels.Cuda;

/// <summary>A GPU that the driver knows.</summary>
/// <param name="Device">What <c>--device</c> calls it: <c>cuda:0</c>.</param>
/// <param name="Name">Its maker's name.</param>
/// <param name="Chip">Its generation: <c>sm_90</c>.</param>
/// <param name="TotalMemory">Bytes.</param>
/// <param name="Image">The compiled kernels that run on it; null when this build has none for it.</param>
/// <param name="Problem">Why the engine does not use it; null when it does.</param>
public sealed record GpuInfo(string Device, string Name, string Chip, long TotalMemory, string? Image, string? Problem)
{
    /// <inheritdoc/>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture, $"{Device} ({Name}, {Chip}, {TotalMemory / 1073741824.0:0.#} GiB, {Image ?? "no kernels"}){(Problem is null ? "" : $": {Problem}")}");
}

/// <summary>The GPUs of this machine, and why they are not used where they are not.</summary>
/// <param name="DriverVersion">The newest CUDA that the driver knows: <c>12.8</c>; null when there is no driver.</param>
/// <param name="Gpus">All of them.</param>
/// <param name="Problem">Why none is used, whatever each one is; null when there is no such reason.</param>
public sealed record GpuReport(string? DriverVersion, IReadOnlyList<GpuInfo> Gpus, string? Problem)
{
    private const string CpuBuild = "libtorch is the one for CPUs; build with -p:TorchBackend=cuda, or let NIBBLE_LIBTORCH name one for GPUs";

    /// <summary>Asks the driver, without taking memory of any GPU.</summary>
    public static GpuReport Read()
    {
        try
        {
            return Read(CudaDevice.Driver, CudaImage.OfBuild);
        }
        catch (CudaException exception)
        {
            return new GpuReport(null, [], exception.Message);
        }
    }

    /// <summary>Asks a driver which GPUs there are, and looks among the images for theirs.</summary>
    internal static GpuReport Read(ICudaDriver driver, IReadOnlyList<CudaImage> images)
    {
        driver.Check(driver.DriverGetVersion(out int version), "the driver does not tell its version");
        driver.Check(driver.DeviceGetCount(out int count), "the driver does not count its GPUs");
        string? problem = count == 0 ? "the driver finds no GPU" : torch.cuda.is_available() ? null : CpuBuild;
        return new GpuReport(
            string.Create(CultureInfo.InvariantCulture, $"{version / 1000}.{version % 1000 / 10}"), [.. Enumerable.Range(0, count).Select(n => Describe(driver, n, images, problem))], problem);
    }

    private static GpuInfo Describe(ICudaDriver driver, int ordinal, IReadOnlyList<CudaImage> images, string? problem)
    {
        string name = $"cuda:{ordinal}";
        driver.Check(driver.DeviceGet(out int device, ordinal), $"there is no {name}");
        driver.Check(driver.DeviceGetName(out string model, device), $"{name} does not answer");
        driver.Check(driver.DeviceTotalMem(out long memory, device), $"{name} does not answer");
        int capability = CudaDevice.CapabilityOf(driver, device);
        CudaImage? image = CudaImage.Best(images, capability);
        problem = CudaDevice.ProblemOf(capability, image) ?? problem;
        return new GpuInfo(name, model, $"sm_{capability}", memory, image?.Name, problem);
    }
}
