using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Serving.Store;
using Nibble.Serving.Workers;
using Nibble.Training.Configuration;

namespace Nibble.Serving.Api;

/// <summary>What is measured whenever somebody asks. Jobs are those of the whole store, whichever server runs them; memory is this machine's.</summary>
internal sealed class Figures
{
    public const string Name = "Nibble";

    private const string Bytes = "By";

    private readonly JobStore store;
    private readonly DeviceMemory memory;

    public Figures(IMeterFactory meters, JobStore store, DeviceMemory memory)
    {
        (this.store, this.memory) = (store, memory);
        Meter meter = meters.Create(Name);
        meter.CreateObservableGauge("nibble.jobs", () => Ask(Jobs), description: "Jobs by where they stand: pending are the queue, failed the failures.");
        meter.CreateObservableGauge("nibble.tokens_per_second", () => Ask(Speed), description: "Tokens that the running jobs together train on in a second.");
        meter.CreateObservableGauge("nibble.device.memory.reserved", () => Ask(Reserved), Bytes, "Memory that is set aside for the running jobs by prediction, by device; not what they use.");
        meter.CreateObservableGauge("nibble.device.memory.limit", Limits, Bytes, "Memory that jobs may need together, by device.");
        meter.CreateObservableGauge("nibble.host.memory.available", () => HostMemory("MemAvailable"), Bytes, "Memory of the machine that is free or can be freed.");
        meter.CreateObservableGauge("nibble.host.memory.total", () => HostMemory("MemTotal"), Bytes, "Memory of the machine.");
    }

    /// <summary>Nothing while the database is gone; whoever asks is shown the rest.</summary>
    private static IEnumerable<Measurement<T>> Ask<T>(Func<Task<IEnumerable<Measurement<T>>>> question)
        where T : struct
    {
        try
        {
            return question().GetAwaiter().GetResult();
        }
        catch (Exception exception) when (JobStore.IsUnreachable(exception))
        {
            return [];
        }
    }

    private async Task<IEnumerable<Measurement<int>>> Jobs()
    {
        IReadOnlyDictionary<JobStatus, int> counts = await store.CountAsync(CancellationToken.None).ConfigureAwait(false);
        return Enum.GetValues<JobStatus>().Select(status => new Measurement<int>(counts.GetValueOrDefault(status), Tag("status", ConfigBinder.KeyOf(status.ToString()))));
    }

    private async Task<IEnumerable<Measurement<double>>> Speed() =>
        [new Measurement<double>((await RunningAsync().ConfigureAwait(false)).Sum(job => JsonNode.Parse(job.Metrics)!["tokens_per_second"] is JsonValue value && value.TryGetValue(out double speed) ? speed : 0))];

    private async Task<IEnumerable<Measurement<long>>> Reserved()
    {
        ILookup<string, Job> running = (await RunningAsync().ConfigureAwait(false)).ToLookup(job => job.Device);
        return memory.JobDevices.Keys.Select(device => new Measurement<long>(running[device].Sum(job => job.Memory), Tag("device", device)));
    }

    private IEnumerable<Measurement<long>> Limits() => memory.JobDevices.Select(device => new Measurement<long>(device.Value, Tag("device", device.Key)));

    private Task<IReadOnlyList<Job>> RunningAsync() => store.ListAsync(int.MaxValue, after: null, JobStatus.Running, CancellationToken.None);

    /// <summary>A line of <c>/proc/meminfo</c>, which counts in KiB.</summary>
    private static IEnumerable<Measurement<long>> HostMemory(string name) => File.ReadLines("/proc/meminfo").Where(line => line.StartsWith($"{name}:", StringComparison.Ordinal))
        .Select(line => new Measurement<long>(long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) * 1024));

    private static KeyValuePair<string, object?> Tag(string name, string value) => KeyValuePair.Create(name, (object?)value);
}
