using System.Collections.Concurrent;
using Nibble.Kernels;
using Nibble.Kernels.Cuda;
using Nibble.Modeling.Configuration;
using Nibble.Serving.Jobs;
using Nibble.Training;
using Nibble.Training.Configuration;

namespace Nibble.Serving.Workers;

/// <summary>The memory of each device, and what a run is predicted to need of it.</summary>
internal sealed class DeviceMemory : IDisposable
{
    private readonly Dictionary<string, long> devices;
    private readonly ConcurrentDictionary<string, long> taken = new();

    public DeviceMemory(ServiceOptions options, IExecutor executor)
    {
        devices = GpuReport.Read().Gpus.Where(gpu => gpu.Problem is null).ToDictionary(gpu => gpu.Device, gpu => gpu.TotalMemory);
        devices.Add(ComputeDevice.Cpu, (executor.Cluster is null ? options.Memory : null) ?? GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);
        JobDevices = executor.Devices ?? devices;
    }

    /// <summary>Bytes by device of this machine: <c>cpu</c>, <c>cuda:0</c>.</summary>
    public IReadOnlyDictionary<string, long> Devices => devices;

    /// <summary>The same where jobs run.</summary>
    public IReadOnlyDictionary<string, long> JobDevices { get; }

    /// <summary>The first GPU of this machine, else the CPU.</summary>
    public string Best => BestOf(devices);

    /// <summary>Is held by who looks at what is free and takes of it.</summary>
    public SemaphoreSlim Deciding { get; } = new(1);

    /// <summary>Bytes of a device that nobody has taken.</summary>
    public long Free(string device) => devices[device] - taken.GetValueOrDefault(device);

    /// <summary>Takes bytes of a device; gives them back where they are negative.</summary>
    public void Take(string device, long bytes) => taken.AddOrUpdate(device, bytes, (_, before) => before + bytes);

    public void Dispose() => Deciding.Dispose();

    /// <summary>Where a run computes, and the bytes that it needs there.</summary>
    /// <exception cref="FieldException">There is no such device, or it can never hold the run.</exception>
    public (string Device, long Bytes) Predict(RunConfig config)
    {
        string device = config.Device != ComputeDevice.Auto ? config.Device : BestOf(JobDevices);
        if (!JobDevices.TryGetValue(device, out long all))
        {
            throw new FieldException("config.device", $"is '{device}', which this server cannot use; it has {string.Join(", ", JobDevices.Keys.Order(StringComparer.Ordinal))}");
        }

        try
        {
            var estimate = MemoryEstimate.Of(config, ConfigReader.Read(config.Model), gpu: device != ComputeDevice.Cpu);
            return estimate.Total <= all ? (device, estimate.Total) : throw new FieldException(
                "config", $"the run needs about {ByteSize.Format(estimate.Total)} ({estimate.Largest}); {device} has {ByteSize.Format(all)} for jobs");
        }
        catch (InvalidDataException exception)
        {
            throw new FieldException("model_name", exception.Message);
        }
    }

    private static string BestOf(IReadOnlyDictionary<string, long> devices) =>
        devices.Keys.Where(name => name != ComputeDevice.Cpu).Order(StringComparer.Ordinal).FirstOrDefault(ComputeDevice.Cpu);
}
