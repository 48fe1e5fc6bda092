using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using Nibble.Serving.Workers;

namespace Nibble.Serving.Clusters;

/// <summary>
/// Slurm, through <c>sbatch</c>, <c>squeue</c> and <c>scancel</c>. Of jobs that are over, the controller tells for some minutes (MinJobAge), which is enough: how a worker
/// ended is in its own file. So no accounting is needed.
/// </summary>
internal sealed class SlurmCluster : ICluster
{
    private const string AnyScript = "#!/bin/sh\nexec \"$@\"\n";
    private const string Format = "name:.80|,jobid:.20|,state:.20|,exit_code:.20|,reason:.60|,nodelist:.60";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan Glance = TimeSpan.FromSeconds(0.5);

    private readonly string script;
    private readonly SemaphoreSlim asking = new(1);
    private readonly Stopwatch sinceAsked = new();
    private ILookup<string, string[]> jobs = Array.Empty<string[]>().ToLookup(fields => "");

    /// <summary>Uses a batch script, whose last line runs what it is given (<c>exec "$@"</c>), or one that does nothing else.</summary>
    /// <param name="template">Its file; null for none.</param>
    /// <exception cref="ArgumentException">It cannot be read, or runs nothing.</exception>
    public SlurmCluster(string? template)
    {
        try
        {
            script = template is null ? AnyScript : File.ReadAllText(template);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new ArgumentException($"--job-template cannot be read: {exception.Message}", exception);
        }

        if (!script.Contains("\"$@\"", StringComparison.Ordinal))
        {
            throw new ArgumentException($"--job-template {template} runs nothing; its last line must be: exec \"$@\"");
        }
    }

    public string Name => "slurm";

    public bool HasGpu => Directives.Any(line => line.Contains("--gres=gpu", StringComparison.Ordinal) || line.Contains("--gpus", StringComparison.Ordinal));

    /// <summary>It is over for longer than the controller remembers.</summary>
    public ClusterState Forgotten => new(ClusterPhase.Lost, "no longer knows it");

    private IEnumerable<string> Directives => script.Split('\n').Where(line => line.StartsWith("#SBATCH", StringComparison.Ordinal));

    public async Task CheckAsync(CancellationToken cancellation)
    {
        string file = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(file, script, cancellation).ConfigureAwait(false);
            (int code, string output) = await RunAsync("sbatch", ["--test-only", file, "true"]).ConfigureAwait(false);
            if (code != 0)
            {
                throw new ArgumentException($"--executor slurm: sbatch refuses jobs: {output}");
            }
        }
        catch (ClusterUnreachableException exception)
        {
            throw new ArgumentException($"--executor slurm: {exception.Message}", exception);
        }
        finally
        {
            File.Delete(file);
        }
    }

    public async Task SubmitAsync(ClusterJob job)
    {
        string file = Path.Combine(job.Folder, "job.sh");
        await File.WriteAllTextAsync(file, script).ConfigureAwait(false);
        bool sized = job.Memory is null || Directives.Any(line => line.Contains("--mem", StringComparison.Ordinal));
        string output = Path.Combine(job.Folder, Exchange.OutputFile).Replace("%", "%%", StringComparison.Ordinal);
        (int code, string words) = await RunAsync(
            "sbatch",
            [
                // Whether another attempt is to be made, the service decides.
                "--parsable", "--no-requeue", $"--job-name={job.Name}", $"--output={output}", $"--chdir={job.Folder}", .. sized ? Array.Empty<string>() : [$"--mem={MiB(job.Memory!.Value)}M"],
                file, .. job.Program, .. job.Arguments,
            ]).ConfigureAwait(false);
        sinceAsked.Reset();
        if (code != 0)
        {
            await AskAsync().ConfigureAwait(false); // Which it refuses as well if it is not there.
            throw new ClusterRefusalException(words);
        }
    }

    public async Task<ClusterState?> FindAsync(string name)
    {
        await asking.WaitAsync().ConfigureAwait(false);
        try
        {
            if (!sinceAsked.IsRunning || sinceAsked.Elapsed > Glance)
            {
                await AskAsync().ConfigureAwait(false);
                sinceAsked.Restart();
            }

            return jobs[name].LastOrDefault() is { } fields ? StateOf(fields) : null;
        }
        finally
        {
            asking.Release();
        }
    }

    public async Task EndAsync(string name)
    {
        // The signal alone leaves a job that waits; to cancel alone lets one that does not listen go on for KillWait.
        await RunAsync("scancel", ["--quiet", "--full", "--signal=KILL", $"--name={name}"]).ConfigureAwait(false);
        (int code, string output) = await RunAsync("scancel", ["--quiet", $"--name={name}"]).ConfigureAwait(false);
        sinceAsked.Reset();
        if (code != 0)
        {
            throw new ClusterUnreachableException(output);
        }
    }

    public void Dispose() => asking.Dispose();

    /// <summary>What a line of squeue says of a job: its name, number, state, exit code and signal, reason and nodes.</summary>
    /// <remarks>States: https://slurm.schedmd.com/job_state_codes.html</remarks>
    internal static ClusterState StateOf(string[] fields)
    {
        (string id, string state, string code, string reason, string nodes) = (fields[1], fields[2], fields[3], fields[4], fields[5]);
        ClusterPhase phase = state switch
        {
            "PENDING" or "CONFIGURING" or "REQUEUED" or "REQUEUE_FED" or "REQUEUE_HOLD" or "RESV_DEL_HOLD" or "SPECIAL_EXIT" => ClusterPhase.Waiting,
            "RUNNING" or "COMPLETING" or "SIGNALING" or "RESIZING" or "STAGE_OUT" => ClusterPhase.Running,
            "SUSPENDED" or "STOPPED" => ClusterPhase.Waiting, // It says nothing then, and need not.
            "COMPLETED" or "FAILED" => ClusterPhase.Ended,
            "CANCELLED" => ClusterPhase.Cancelled,
            "OUT_OF_MEMORY" => ClusterPhase.Failed,
            _ => ClusterPhase.Lost, // NODE_FAIL, PREEMPTED, TIMEOUT, DEADLINE, BOOT_FAIL, REVOKED, LAUNCH_FAILED
        };
        string why = phase == ClusterPhase.Waiting && reason is not ("None" or "(null)" or "") ? $" ({reason})" : phase == ClusterPhase.Running && nodes.Length > 0 ? $" on {nodes}" : "";
        int[] parts = [.. code.Split(':').Select(part => int.TryParse(part, CultureInfo.InvariantCulture, out int number) ? number : 0), 0];
        return new ClusterState(phase, $"job {id} is {state}{why}", parts[1] != 0 ? 128 + parts[1] : parts[0]);
    }

    private async Task AskAsync()
    {
        (int code, string output) = await RunAsync("squeue", ["--me", "--states=all", "--noheader", $"--Format={Format}"]).ConfigureAwait(false);
        jobs = code != 0 ? throw new ClusterUnreachableException(output)
            : output.Split('\n').Select(line => line.Split('|', StringSplitOptions.TrimEntries)).Where(fields => fields.Length == 6).ToLookup(fields => fields[0]);
    }

    /// <summary>A program of Slurm, and what it says: its output, or in one line why it failed.</summary>
    private static async Task<(int Code, string Words)> RunAsync(string program, IReadOnlyList<string> arguments)
    {
        // sbatch gives the environment to the job.
        ProcessStartInfo start = WorkerProgram.Start([program, .. arguments], "SLURM_CONF", "MUNGE_");
        try
        {
            using Process process = Process.Start(start)!;
            process.StandardInput.Close();
            using var patience = new CancellationTokenSource(Patience);
            Task<string> error = process.StandardError.ReadToEndAsync(patience.Token);
            string output = await process.StandardOutput.ReadToEndAsync(patience.Token).ConfigureAwait(false);
            await process.WaitForExitAsync(patience.Token).ConfigureAwait(false);
            return process.ExitCode == 0 ? (0, output) : (process.ExitCode, OneLine(await error.ConfigureAwait(false)));
        }
        catch (Win32Exception exception)
        {
            throw new ClusterUnreachableException($"there is no {program} on PATH", exception);
        }
        catch (OperationCanceledException exception)
        {
            throw new ClusterUnreachableException($"{program} says nothing for {Patience.TotalSeconds:0} s", exception);
        }
    }

    private static string OneLine(string text) =>
        string.Join("; ", text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).Select(line => line.Split(": error: ")[^1]));

    /// <summary>A quarter more than is predicted, for estimates are within a tenth.</summary>
    private static long MiB(long bytes) => (bytes + (bytes / 4)) >> 20;
}
