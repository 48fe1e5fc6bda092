using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;

namespace Nibble.Tests;

/// <summary>A cluster of this machine alone: munged, slurmctld and slurmd with a configuration, a key and ports of their own. Tests skip where they are not installed.</summary>
public sealed class SlurmOnLoopback : IDisposable
{
    private readonly TempFolder folder;
    private readonly List<Process> daemons = [];

    public SlurmOnLoopback()
    {
        string? missing = new[] { "munged", "slurmctld", "slurmd", "sbatch", "srun" }.FirstOrDefault(name => Tool(name) is null);
        Assert.SkipWhen(missing is not null, $"There is no {missing}: apt-get install slurm-wlm munge.");
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "Slurm's daemons want to be root.");
        folder = new TempFolder();
        Directory.CreateDirectory(folder["state"]);
        string key = folder["munge.key"];
        File.WriteAllBytes(key, RandomNumberGenerator.GetBytes(128));
        using (Process chmod = Process.Start("chmod", ["400", key]))
        {
            chmod.WaitForExit();
        }

        int[] ports = FreePorts();
        File.WriteAllText(folder["cgroup.conf"], "");
        File.WriteAllText(Configuration, $"""
            ClusterName=nibble
            SlurmctldHost={Node}(127.0.0.1)
            SlurmUser=root
            SlurmdUser=root
            AuthType=auth/munge
            AuthInfo=socket={folder.Path}/munge.socket
            SlurmctldPort={ports[0]}
            SlurmdPort={ports[1]}
            SlurmctldPidFile={folder.Path}/slurmctld.pid
            SlurmdPidFile={folder.Path}/slurmd.pid
            StateSaveLocation={folder.Path}/state
            SlurmdSpoolDir={folder.Path}/spool
            ProctrackType=proctrack/linuxproc
            TaskPlugin=task/none
            SelectType=select/cons_tres
            SelectTypeParameters=CR_Core
            ReturnToService=2
            SchedulerParameters=sched_interval=1,bf_interval=1
            NodeName={Node} NodeAddr=127.0.0.1 CPUs={Math.Max(2, Environment.ProcessorCount)} RealMemory={GC.GetGCMemoryInfo().TotalAvailableMemoryBytes >> 21} State=UNKNOWN
            PartitionName=main Nodes={Node} Default=YES State=UP

            """);
        Start("munged", "--foreground", "--force", $"--key-file={key}", $"--socket={folder.Path}/munge.socket", $"--pid-file={folder.Path}/munge.pid", $"--log-file={folder.Path}/munge.log", $"--seed-file={folder.Path}/munge.seed");
        WaitFor("munge", () => File.Exists(folder["munge.socket"]));
        Start("slurmctld", "-D");
        Start("slurmd", "-D");
        WaitFor("Slurm", () => Ask("srun", "--immediate=1", "true").Code == 0);
    }

    /// <summary>The name of its one machine.</summary>
    public static string Node { get; } = Environment.MachineName.Split('.')[0];

    /// <summary>What SLURM_CONF must name.</summary>
    public string Configuration => folder["slurm.conf"];

    /// <summary>One of Slurm's programs that talks to this cluster and to no other; jobs find the program in their path.</summary>
    public ProcessStartInfo Command(string name, string[] arguments) => new(Tool(name)!, arguments)
    {
        Environment = { ["SLURM_CONF"] = Configuration, ["PATH"] = $"{TestedProgram.Folder}:{Environment.GetEnvironmentVariable("PATH")}" },
    };

    /// <summary>What one of Slurm's programs answers.</summary>
    public (int Code, string Output) Ask(string name, params string[] arguments)
    {
        ProcessStartInfo start = Command(name, arguments);
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, output + error.Result);
    }

    /// <summary>Ends all jobs.</summary>
    public void Clear()
    {
        Ask("scancel", "--quiet", "--full", "--signal=KILL", "--user=root");
        Ask("scancel", "--quiet", "--user=root"); // The signal leaves those that wait.
    }

    public void Dispose()
    {
        Clear();
        foreach (Process daemon in daemons.AsEnumerable().Reverse())
        {
            using Process kill = Process.Start("kill", ["-TERM", $"{daemon.Id}"]);
            kill.WaitForExit();
            if (!daemon.WaitForExit(TimeSpan.FromSeconds(5)))
            {
                daemon.Kill(entireProcessTree: true);
            }

            daemon.Dispose();
        }

        folder.Dispose();
    }

    private static string? Tool(string name) => (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Concat(["/usr/sbin", "/sbin"])
        .Select(place => Path.Combine(place, name)).FirstOrDefault(File.Exists);

    private void Start(string name, params string[] arguments)
    {
        ProcessStartInfo start = Command(name, arguments);
        start.RedirectStandardOutput = true;
        start.RedirectStandardError = true;
        Process daemon = Process.Start(start)!;
        daemon.OutputDataReceived += (_, _) => { };
        daemon.ErrorDataReceived += (_, _) => { };
        daemon.BeginOutputReadLine();
        daemon.BeginErrorReadLine();
        daemons.Add(daemon);
    }

    private void WaitFor(string what, Func<bool> there)
    {
        var clock = Stopwatch.StartNew();
        while (!there())
        {
            if (clock.Elapsed > TimeSpan.FromSeconds(60))
            {
                Dispose();
                Assert.Fail($"{what} does not start here.");
            }

            Thread.Sleep(200);
        }
    }

    private static int[] FreePorts()
    {
        using var first = new TcpListener(IPAddress.Loopback, 0);
        using var second = new TcpListener(IPAddress.Loopback, 0);
        first.Start();
        second.Start();
        return [((IPEndPoint)first.LocalEndpoint).Port, ((IPEndPoint)second.LocalEndpoint).Port];
    }
}
