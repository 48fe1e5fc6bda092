using System.Diagnostics;
using System.Text.Json.Nodes;
using Nibble.Serving.Store;
using Nibble.Serving.Workers;

namespace Nibble.Serving.Clusters;

/// <summary>
/// A worker on a cluster, listened to by its file. It is handed over only if the cluster does not know it and it has said nothing yet, so that a server
/// that is started again finds what an earlier one handed over, and nothing runs twice.
/// </summary>
internal sealed class ClusterWorker(ICluster cluster, ClusterJob work, Exchange exchange, Job job) : IWorker
{
    /// <summary>The kind of a worker's last line.</summary>
    public const string End = "end";

    private static readonly TimeSpan Glance = TimeSpan.FromSeconds(0.1);
    private static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(1);

    /// <summary>What last words may take to come through the file system, and why a worker was interrupted through the cluster.</summary>
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(5);

    private readonly Stopwatch running = new();
    private readonly Stopwatch sinceLooked = new();
    private readonly Stopwatch sinceOver = new();
    private Stopwatch sinceHeard = Stopwatch.StartNew();
    private bool submitted;
    private bool ended;
    private bool over;
    private string? problem;
    private ClusterState? state;
    private WorkerExit? last;

    /// <inheritdoc/>
    public TimeSpan Silence => state?.Phase == ClusterPhase.Running ? Volatile.Read(ref sinceHeard).Elapsed : TimeSpan.Zero;

    /// <inheritdoc/>
    public TimeSpan Worked => running.Elapsed;

    /// <inheritdoc/>
    public long Heard { get; private set; } = job.ClusterHeard;

    /// <summary>It says by itself that it lives.</summary>
    public void Beat()
    {
    }

    /// <inheritdoc/>
    public async Task<WorkerExit> ListenAsync(Action<JsonObject> heard, StopOrder stop)
    {
        while (true)
        {
            if (stop.Reason is StopReason.Draining or StopReason.LeaseLost)
            {
                over = true;
                return new WorkerExit(0, "") { IsLeft = true };
            }

            if (await TryAsync(() => StepAsync(heard, stop), heard).ConfigureAwait(false) is { } exit)
            {
                over = true;
                return exit;
            }

            await Task.Delay(Glance).ConfigureAwait(false);
        }
    }

    /// <summary>Nobody looks after it any more, unless it has ended or was left to others.</summary>
    public void Dispose()
    {
        if (!over)
        {
            exchange.Stop();
            _ = TryAsync(EndAsync, _ => { });
        }
    }

    private async Task<WorkerExit?> StepAsync(Action<JsonObject> heard, StopOrder stop)
    {
        // It runs by now, which is told before what it says; but a cluster that does not answer keeps nobody from hearing it.
        if (state?.Phase == ClusterPhase.Waiting && !running.IsRunning && problem is null && exchange.HasSpoken)
        {
            await LookAsync(heard).ConfigureAwait(false);
        }

        Hear(heard);
        // What interrupted a worker that nobody here stopped, the cluster says.
        if (last is not null && (last.Code != WorkerExit.Interrupted || stop.Reason is not null))
        {
            return last;
        }

        if (stop.Reason is not null && !exchange.IsStopped)
        {
            exchange.Stop();
        }

        if (!ended && ((stop.Reason is not null && state?.Phase != ClusterPhase.Running) || stop.Killed.IsCancellationRequested))
        {
            await EndAsync().ConfigureAwait(false);
            sinceLooked.Reset();
        }

        if (!sinceLooked.IsRunning || sinceLooked.Elapsed > LookEvery)
        {
            await LookAsync(heard).ConfigureAwait(false);
        }

        bool gone = state is { Phase: not (ClusterPhase.Waiting or ClusterPhase.Running) };
        if (gone || last is not null)
        {
            sinceOver.Start();
        }

        // Where it ended by itself, its own last words say how.
        bool known = gone && (state!.Phase != ClusterPhase.Ended || last is not null || ended);
        return known || sinceOver.Elapsed > Grace ? Exit() : null;
    }

    private WorkerExit Exit() => state!.Phase switch
    {
        _ when ended => new WorkerExit(Worker.TryAgain, $"{cluster.Name} {state.Words}"),
        ClusterPhase.Cancelled => new WorkerExit(WorkerExit.Interrupted, $"{cluster.Name} {state.Words}; its checkpoints stay") { IsCancelled = true },
        ClusterPhase.Failed => new WorkerExit(1, $"{cluster.Name} {state.Words}"),
        ClusterPhase.Lost => new WorkerExit(Worker.TryAgain, $"{cluster.Name} {state.Words}"),
        _ => last is not null ? new WorkerExit(Worker.TryAgain, "the worker was interrupted") : WorkerExit.Of(state.ExitCode, exchange.Output()),
    };

    private async Task LookAsync(Action<JsonObject> heard)
    {
        sinceLooked.Restart();
        ClusterState? found = await cluster.FindAsync(work.Name).ConfigureAwait(false);
        if (found is null && !submitted && !exchange.HasSpoken && !ended)
        {
            await cluster.SubmitAsync(work).ConfigureAwait(false);
            found = await cluster.FindAsync(work.Name).ConfigureAwait(false);
        }

        submitted = true;
        found ??= cluster.Forgotten;
        if (found != state)
        {
            Tell(found, heard);
        }

        (state, problem) = (found, null);
    }

    private void Tell(ClusterState found, Action<JsonObject> heard)
    {
        bool begins = found.Phase == ClusterPhase.Running && state?.Phase != ClusterPhase.Running;
        if (begins)
        {
            running.Start();
            Volatile.Write(ref sinceHeard, Stopwatch.StartNew());
        }

        string words = $"{cluster.Name} {found.Words}";
        heard(begins && job.Status != JobStatus.Running ? new JsonObject { ["kind"] = JobStore.Begun, ["reason"] = words } : new JsonObject { ["kind"] = "log", ["message"] = words });
    }

    private void Hear(Action<JsonObject> heard)
    {
        foreach ((string line, long next) in exchange.Said(Heard))
        {
            Heard = next;
            Volatile.Write(ref sinceHeard, Stopwatch.StartNew());
            if (WorkerProcess.Parse(line) is not { } message)
            {
                continue;
            }

            if (message["kind"]?.GetValue<string>() == End)
            {
                last = new WorkerExit(message["code"]!.GetValue<int>(), message["error"]!.GetValue<string>());
                running.Stop();
            }
            else
            {
                heard(message);
            }
        }
    }

    private async Task<WorkerExit?> EndAsync()
    {
        await cluster.EndAsync(work.Name).ConfigureAwait(false);
        ended = true;
        return null;
    }

    private async Task<WorkerExit?> TryAsync(Func<Task<WorkerExit?>> step, Action<JsonObject> heard)
    {
        try
        {
            return await step().ConfigureAwait(false);
        }
        catch (ClusterRefusalException exception)
        {
            return new WorkerExit(1, $"{cluster.Name} refuses the job: {exception.Message}");
        }
        catch (Exception exception) when (exception is ClusterUnreachableException or IOException)
        {
            if (problem != exception.Message)
            {
                problem = exception.Message;
                heard(new JsonObject { ["kind"] = "log", ["message"] = $"{cluster.Name} does not answer, and is asked again: {problem}" });
            }

            return null;
        }
    }
}
