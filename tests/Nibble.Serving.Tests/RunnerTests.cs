using Microsoft.Extensions.Hosting.Internal;
using Microsoft.Extensions.Logging.Abstractions;
using Nibble.Serving.Files;
using Nibble.Serving.Store;
using Nibble.Serving.Workers;
using Nibble.Tests;

namespace Nibble.Serving.Tests;

/// <summary>When jobs get their workers.</summary>
public class RunnerTests
{
    [Fact]
    public async Task No_job_is_taken_by_a_service_that_does_not_listen_yet()
    {
        using var folder = new TempFolder();
        using var store = new JobStore(StoreDatabase.At(folder["jobs.db"]));
        await store.AddAsync(TestStore.Job("early"), 10);
        var options = new ServiceOptions { Models = folder.Path, Data = folder.Path, Outputs = folder.Path, Database = folder["jobs.db"], Files = folder.Path };
        using var executor = new Nowhere();
        using var memory = new DeviceMemory(options, executor);
        var host = new ApplicationLifetime(NullLogger<ApplicationLifetime>.Instance);
        using var runner = new JobRunner(store, executor, options, memory, new DiskQuota(options), host, NullLogger<JobRunner>.Instance);
        await runner.StartAsync(TestContext.Current.CancellationToken);
        await Assert.ThrowsAsync<TimeoutException>(() => executor.Asked.WaitAsync(TimeSpan.FromSeconds(0.5)));
        host.NotifyStarted();
        await executor.Asked.WaitAsync(TimeSpan.FromSeconds(30));
        await runner.StopAsync(TestContext.Current.CancellationToken);
    }

    /// <summary>Starts no worker, and tells that it was asked for one.</summary>
    private sealed class Nowhere : IExecutor
    {
        private readonly TaskCompletionSource asked = new();

        public Task Asked => asked.Task;

        public string? Cluster => null;

        public IReadOnlyDictionary<string, long>? Devices => null;

        public Task CheckAsync(CancellationToken cancellation) => Task.CompletedTask;

        public void Dispose()
        {
        }

        public IWorker Start(Job job, WorkerOrder order)
        {
            asked.TrySetResult();
            throw new IOException("there is nowhere to run it");
        }
    }
}
