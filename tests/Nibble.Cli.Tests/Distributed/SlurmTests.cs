using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>The batch script among the examples, run by Slurm itself on a cluster of this machine alone.</summary>
[Collection("nibble")] // Programs that share the processors would only wait for each other.
public class SlurmTests : DistributedProgram
{
    [Fact]
    public void The_batch_script_of_the_examples_trains_under_Slurm_as_one_process_does()
    {
        using var folder = new TempFolder();
        string[] settings = ["--set", "training.max_steps=4"];
        Assert.Equal(0, Watch(new ProcessStartInfo(Program, Train(folder["1"], "lora", 2, settings))).Code);
        using var cluster = new Cluster(folder["slurm"]);
        string log = folder["job.log"];
        File.WriteAllText(folder["run.yaml"], "{}");
        string script = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../../../src/Nibble.Cli/examples/distributed/train.sbatch"));
        // One machine instead of two, and a time that a test can wait for.
        string[] options = ["--wait", "--nodes=1", "--ntasks-per-node=2", "--time=2", $"--output={log}", script, folder["run.yaml"]];
        (int code, List<string> lines) = Watch(cluster.Command("sbatch", [.. options, .. Train(folder["2"], "lora", 1, settings).Skip(1)]));
        Assert.True(code == 0, string.Join('\n', lines) + (File.Exists(log) ? File.ReadAllText(log) : ""));
        Assert.Contains("step 4 ", File.ReadAllText(log), StringComparison.Ordinal);
        AssertSame(folder["1"], folder["2"], 1e-5);
    }

    /// <summary>munged, slurmctld and slurmd with a configuration, a key and ports of their own; ends them when disposed.</summary>
    private sealed class Cluster : IDisposable
    {
        private readonly string folder;
        private readonly List<Process> daemons = [];

        public Cluster(string folder)
        {
            string? missing = new[] { "munged", "slurmctld", "slurmd", "sbatch", "srun" }.FirstOrDefault(name => Tool(name) is null);
            Assert.SkipWhen(missing is not null, $"There is no {missing}: apt-get install slurm-wlm munge.");
            Assert.SkipUnless(Environment.IsPrivilegedProcess, "Slurm's daemons want to be root.");
            Mpirun(2, []); // Or the test is skipped.
            this.folder = folder;
            Directory.CreateDirectory(Path.Combine(folder, "state"));
            string key = Path.Combine(folder, "munge.key");
            File.WriteAllBytes(key, RandomNumberGenerator.GetBytes(128));
            Process.Start("chmod", ["400", key]).WaitForExit();
            int[] ports = FreePorts();
            string host = Environment.MachineName.Split('.')[0];
            File.WriteAllText(Path.Combine(folder, "cgroup.conf"), "");
            File.WriteAllText(Path.Combine(folder, "slurm.conf"), $"""
                ClusterName=nibble
                SlurmctldHost={host}(127.0.0.1)
                SlurmUser=root
                SlurmdUser=root
                AuthType=auth/munge
                AuthInfo=socket={folder}/munge.socket
                SlurmctldPort={ports[0]}
                SlurmdPort={ports[1]}
                SlurmctldPidFile={folder}/slurmctld.pid
                SlurmdPidFile={folder}/slurmd.pid
                StateSaveLocation={folder}/state
                SlurmdSpoolDir={folder}/spool
                ProctrackType=proctrack/linuxproc
                TaskPlugin=task/none
                SelectType=select/cons_tres
                SelectTypeParameters=CR_Core
                ReturnToService=2
                NodeName={host} NodeAddr=127.0.0.1 CPUs={Math.Max(2, Environment.ProcessorCount)} State=UNKNOWN
                PartitionName=main Nodes={host} Default=YES State=UP

                """);
            Start("munged", "--foreground", "--force", $"--key-file={key}", $"--socket={folder}/munge.socket", $"--pid-file={folder}/munge.pid", $"--log-file={folder}/munge.log", $"--seed-file={folder}/munge.seed");
            WaitFor("munge", () => File.Exists(Path.Combine(folder, "munge.socket")));
            Start("slurmctld", "-D");
            Start("slurmd", "-D");
            WaitFor("Slurm", () => Watch(Command("srun", ["--immediate=1", "true"])).Code == 0);
        }

        /// <summary>One of Slurm's programs that talks to this cluster and to no other; jobs find the program in their path.</summary>
        public ProcessStartInfo Command(string name, string[] arguments) => new(Tool(name)!, arguments)
        {
            Environment = { ["SLURM_CONF"] = Path.Combine(folder, "slurm.conf"), ["PATH"] = $"{AppContext.BaseDirectory}:{Environment.GetEnvironmentVariable("PATH")}" },
        };

        public void Dispose()
        {
            foreach (Process daemon in daemons.AsEnumerable().Reverse())
            {
                Signal("-TERM", $"{daemon.Id}");
                if (!daemon.WaitForExit(TimeSpan.FromSeconds(5)))
                {
                    daemon.Kill(entireProcessTree: true);
                }

                daemon.Dispose();
            }
        }

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
                if (clock.Elapsed > TimeSpan.FromSeconds(20))
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
}
