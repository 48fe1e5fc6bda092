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
    public async Task That_a_worker_runs_is_told_before_what_it_says_however_soon_it_speaks() =>
        Assert.Equal(["log", "begun", "progress"], await HeardAsync(new ClusterState(ClusterPhase.Running, "job 7 runs")));

    [Fact]
    public async Task A_worker_is_heard_while_its_cluster_does_not_answer() =>
        Assert.Equal(["log", "log", "progress"], await HeardAsync(state: null));

    /// <summary>The kinds of the first three messages where a worker speaks after its cluster has said that it waits.</summary>
    /// <param name="state">Where the cluster says that it stands by then; null where it does not answer.</param>
    private static async Task<List<string>> HeardAsync(ClusterState? state)
    {
        using var folder = new TempFolder();
        var exchange = Exchange.Of(folder.Path, "worker");
        exchange.Order("{}");
        using var cluster = new OneJob();
        using var stop = new StopOrder();
        var kinds = Channel.CreateUnbounded<string>();
        using var worker = new ClusterWorker(cluster, new ClusterJob("worker", exchange.Folder, [], [], null), exchange, TestStore.Job("quick"));
        Task<WorkerExit> listening = worker.ListenAsync(message => kinds.Writer.TryWrite(message["kind"]!.GetValue<string>()), stop);
        var heard = new List<string> { await kinds.Reader.ReadAsync().AsTask().WaitAsync(Patience) };
        cluster.State = state;
        await using (StreamWriter said = exchange.OpenToSay())
        {
            await said.WriteLineAsync("""{"kind": "progress", "step": 1}""");
        }

        heard.Add(await kinds.Reader.ReadAsync().AsTask().WaitAsync(Patience));
        heard.Add(await kinds.Reader.ReadAsync().AsTask().WaitAsync(Patience));
        stop.Give(StopReason.Draining);
        Assert.True((await listening.WaitAsync(Patience)).IsLeft);
        return heard;
    }

    /// <summary>A cluster that has one job, which stands where a test says.</summary>
    private sealed class OneJob : ICluster
    {
        public ClusterState? State { get; set; } = new(ClusterPhase.Waiting, "job 7 waits");

        public string Name => "cluster";

        public bool HasGpu => false;

        public ClusterState Forgotten => new(ClusterPhase.Lost, "job 7 is gone");

        public Task CheckAsync(CancellationToken cancellation) => Task.CompletedTask;

        public Task SubmitAsync(ClusterJob job) => Task.CompletedTask;

        public Task<ClusterState?> FindAsync(string name) => State is { } state ? Task.FromResult<ClusterState?>(state) : throw new ClusterUnreachableException("nobody there");

        public Task EndAsync(string name) => Task.CompletedTask;

        public void Dispose()
        {
        }
    }
}
