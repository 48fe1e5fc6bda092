using System.Threading.Channels;
using Nibble.Serving.Clusters;
using Nibble.Serving.Workers;
using Nibble.Tests;

namespace Nibble.Serving.Tests;

/// <summary>What a server makes of what a cluster and a worker there say.</summary>
public class ClusterWorkerTests
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task That_a_worker_runs_is_told_before_what_it_says_however_soon_it_speaks()
    {
        using var folder = new TempFolder();
        var exchange = Exchange.Of(folder.Path, "worker");
        exchange.Order("{}");
        using var cluster = new OneJob();
        using var stop = new StopOrder();
        var kinds = Channel.CreateUnbounded<string>();
        using var worker = new ClusterWorker(cluster, new ClusterJob("worker", exchange.Folder, [], [], null), exchange, TestStore.Job("quick"));
        Task<WorkerExit> listening = worker.ListenAsync(message => kinds.Writer.TryWrite(message["kind"]!.GetValue<string>()), stop);
        Assert.Equal("log", await kinds.Reader.ReadAsync().AsTask().WaitAsync(Patience)); // It waits.
        cluster.State = new ClusterState(ClusterPhase.Running, "job 7 runs");
        await using (StreamWriter said = exchange.OpenToSay())
        {
            await said.WriteLineAsync("""{"kind": "progress", "step": 1}""");
        }

        Assert.Equal("begun", await kinds.Reader.ReadAsync().AsTask().WaitAsync(Patience));
        Assert.Equal("progress", await kinds.Reader.ReadAsync().AsTask().WaitAsync(Patience));
        stop.Give(StopReason.Draining);
        Assert.True((await listening.WaitAsync(Patience)).IsLeft);
    }

    /// <summary>A cluster that has one job, which stands where a test says.</summary>
    private sealed class OneJob : ICluster
    {
        public ClusterState State { get; set; } = new(ClusterPhase.Waiting, "job 7 waits");

        public string Name => "cluster";

        public bool HasGpu => false;

        public ClusterState Forgotten => State;

        public Task CheckAsync(CancellationToken cancellation) => Task.CompletedTask;

        public Task SubmitAsync(ClusterJob job) => Task.CompletedTask;

        public Task<ClusterState?> FindAsync(string name) => Task.FromResult<ClusterState?>(State);

        public Task EndAsync(string name) => Task.CompletedTask;

        public void Dispose()
        {
        }
    }
}
