using Nibble.Serving.Store;

namespace Nibble.Serving.Workers;

/// <summary>Where workers run.</summary>
internal interface IExecutor : IDisposable
{
    /// <summary>The kind of cluster, whose workers outlive their servers; null on this machine, where none does.</summary>
    string? Cluster { get; }

    /// <summary>Bytes that a job may need, by device: <c>cpu</c>, <c>cuda:0</c>; null for what this machine has.</summary>
    IReadOnlyDictionary<string, long>? Devices { get; }

    /// <summary>Makes sure that workers can be started.</summary>
    /// <exception cref="ArgumentException">They cannot; the message says why.</exception>
    Task CheckAsync(CancellationToken cancellation);

    /// <summary>Starts a job's worker, or finds the one that an earlier server started.</summary>
    IWorker Start(Job job, WorkerOrder order);
}

/// <summary>Workers are children of this process.</summary>
internal sealed class LocalExecutor : IExecutor
{
    public string? Cluster => null;

    public IReadOnlyDictionary<string, long>? Devices => null;

    public Task CheckAsync(CancellationToken cancellation) => Task.CompletedTask;

    public void Dispose()
    {
    }

    public IWorker Start(Job job, WorkerOrder order) => new WorkerProcess("worker", order.ToLine());
}
