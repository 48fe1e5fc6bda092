using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Nibble.Kernels.Runtime;
using Nibble.Modeling.Checkpoints;
using Nibble.Training;

namespace Nibble.Serving.Workers;

/// <summary>
/// The right to write a run's folder. Who has it holds a file there locked, so no two ever write, also on several machines, as long as
/// their file system locks files for all of them (NFS 4, Lustre, CephFS). Beside it lies who had it last: of an attempt that is older than that none gets it any
/// more, however late it wakes. One that is stopped, or does not let go, is ended, if it runs on this machine; elsewhere it is waited for.
/// </summary>
internal sealed class RunClaim : IDisposable
{
    private const string LockFile = ".worker.lock";
    private const string HolderFile = ".worker.json";

    /// <summary>What an earlier worker may take for its checkpoint.</summary>
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>Among what the system tells of a process; see proc_pid_stat(5).</summary>
    private const int StartTime = 19;

    private readonly FileStream file;

    private RunClaim(FileStream file) => this.file = file;

    /// <summary>A worker that has, or had, a folder.</summary>
    /// <param name="Job">Names of jobs are ordered by their time.</param>
    /// <param name="Attempt">Of the job.</param>
    /// <param name="Machine">Where it runs, as far as process numbers reach.</param>
    /// <param name="Process">Its number there.</param>
    /// <param name="Started">When it was started, in the system's ticks, for numbers are used again.</param>
    private sealed record Holder(string Job, int Attempt, string Machine, int Process, string Started)
    {
        public static Holder Of(WorkerOrder order) => new(order.Job, order.Attempt, ThisMachine(), Environment.ProcessId, Status(Environment.ProcessId)[StartTime]);

        /// <summary>Whether it is a process of this machine, and still the one that it was.</summary>
        [JsonIgnore]
        public bool IsHere => Machine == ThisMachine() && Started == Status(Process)[StartTime];

        public bool IsNewerThan(WorkerOrder order) => string.CompareOrdinal(Job, order.Job) is var later && (later > 0 || (later == 0 && Attempt > order.Attempt));
    }

    /// <summary>Takes the folder of a run, when no earlier worker has it any more.</summary>
    /// <exception cref="IOException">A newer worker has had it.</exception>
    /// <exception cref="OperationCanceledException">It was waited for too long.</exception>
    public static RunClaim Take(WorkerOrder order, ITrainingObserver observer, CancellationToken cancellation)
    {
        string folder = order.Config.OutputDir;
        DurableFolder.Create(folder);
        var clock = Stopwatch.StartNew();
        for (bool told = false; ; told = true)
        {
            cancellation.ThrowIfCancellationRequested();
            if (TryLock(Path.Combine(folder, LockFile)) is { } file)
            {
                if (Read(folder) is { } last && last.IsNewerThan(order))
                {
                    file.Dispose();
                    throw new IOException($"{folder} was given to attempt {last.Attempt} of {last.Job}; this one is over.");
                }

                AtomicFile.WriteText(Path.Combine(folder, HolderFile), JsonSerializer.Serialize(Holder.Of(order)));
                return new RunClaim(file);
            }

            if (!told)
            {
                observer.Info("Waits for an earlier worker of this run to end.");
            }

            if (Read(folder) is { } holder && !holder.IsNewerThan(order) && holder.IsHere && (clock.Elapsed > Patience || Status(holder.Process)[0] is "T" or "t"))
            {
                End(holder.Process);
            }

            cancellation.WaitHandle.WaitOne(TimeSpan.FromMilliseconds(100));
        }
    }

    public void Dispose() => file.Dispose();

    private static FileStream? TryLock(string path)
    {
        try
        {
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException) when (File.Exists(path))
        {
            return null;
        }
    }

    private static Holder? Read(string folder)
    {
        try
        {
            return JsonSerializer.Deserialize<Holder>(File.ReadAllText(Path.Combine(folder, HolderFile)));
        }
        catch (Exception exception) when (exception is FileNotFoundException or JsonException) // Nobody had it yet, or it is no file of ours.
        {
            return null;
        }
    }

    private static void End(int process)
    {
        try
        {
            using var holder = Process.GetProcessById(process);
            holder.Kill(); // Which ends a stopped process too, before it can go on.
        }
        catch (ArgumentException)
        {
            // It has ended.
        }
    }

    /// <summary>This start of this machine, and in it this space of process numbers, which a container has for itself.</summary>
    private static string ThisMachine() => $"{File.ReadAllText("/proc/sys/kernel/random/boot_id").Trim()} {new FileInfo("/proc/self/ns/pid").LinkTarget}";

    /// <summary>What the system tells of a process, from its state on, which is the third field; the second is a name in brackets that may hold anything.</summary>
    private static string[] Status(int process)
    {
        try
        {
            return File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/stat")).Split(") ")[^1].Split(' ');
        }
        catch (IOException)
        {
            return new string[StartTime + 1]; // It has ended.
        }
    }
}
