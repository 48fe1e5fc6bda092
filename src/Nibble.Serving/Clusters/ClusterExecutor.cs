using Nibble.Kernels;
using Nibble.Serving.Store;
using Nibble.Serving.Workers;

namespace Nibble.Serving.Clusters;

/// <summary>Workers are jobs of a cluster, over the same folders as this server.</summary>
internal sealed class ClusterExecutor(ICluster cluster, ServiceOptions options) : IExecutor
{
    /// <summary>What a job may need where nobody says how much the machines have.</summary>
    private const long AnyMemory = 1L << 40;

    public string? Cluster => cluster.Name;

    public IReadOnlyDictionary<string, long> Devices { get; } = (cluster.HasGpu ? [ComputeDevice.Cpu, "cuda:0"] : new[] { ComputeDevice.Cpu })
        .ToDictionary(device => device, device => device == ComputeDevice.Cpu ? options.Memory ?? AnyMemory : AnyMemory);

    public Task CheckAsync(CancellationToken cancellation) => cluster.CheckAsync(cancellation);

    public void Dispose() => cluster.Dispose();

    public IWorker Start(Job job, WorkerOrder order)
    {
        string name = job.ClusterJob!.Split(':')[1];
        var exchange = Exchange.Of(job.Folder, name);
        exchange.Order(order.ToLine());
        long? memory = job.Device == ComputeDevice.Cpu ? job.Memory : null;
        return new ClusterWorker(cluster, new ClusterJob(name, exchange.Folder, WorkerProgram.Command(), ["worker", "--exchange", exchange.Folder], memory), exchange, job);
    }
}
