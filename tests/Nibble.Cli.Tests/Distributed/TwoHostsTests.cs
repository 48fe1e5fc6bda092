using System.Diagnostics;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>Two network namespaces with names of their own, joined by a cable, as two machines.</summary>
[Collection("nibble")] // Programs that share the processors would only wait for each other.
public class TwoHostsTests : DistributedProgram
{
    [Fact]
    public void Two_hosts_train_as_one_process_does()
    {
        using var hosts = new Hosts();
        using var folder = new TempFolder();
        string[] settings = ["--set", "training.max_steps=4", "--set", "training.zero_stage=2", "--set", "training.optim=adamw_torch"];
        Assert.Equal(0, Watch(new ProcessStartInfo(Program, Train(folder["1"], "full", 2, settings))).Code);
        (int code, List<string> lines) = Watch(hosts.Mpirun(Train(folder["2"], "full", 1, settings)));
        Assert.True(code == 0, string.Join('\n', lines));
        AssertSame(folder["1"], folder["2"], 1e-5);
        Assert.True(hosts.BytesOnCable > 4 * 4 * 260_032, $"{hosts.BytesOnCable} bytes went over the cable"); // Gradients and parameters, half each, four times.
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_rank_that_is_killed_or_cut_off_during_a_step_is_named_in_time(bool cable)
    {
        using var hosts = new Hosts();
        using var folder = new TempFolder();
        var clock = Stopwatch.StartNew();
        string[] arguments = Train(folder["out"], "lora", 1, ["--set", "training.max_steps=100000", "--set", "training.ddp_timeout=4"]);
        (int code, List<string> lines) = Watch(hosts.Mpirun(arguments), launcher =>
        {
            if (cable)
            {
                hosts.CutCable();
            }
            else
            {
                Signal("-KILL", hosts.ProcessOnSecond());
            }

            _ = Task.Run(hosts.EndLauncherAfterRankZero); // mpirun's own daemon on the other host may never hear that all is over.
        });
        Assert.NotEqual(0, code);
        Assert.Contains(lines, line => cable
            ? line.StartsWith("nibble: rank 0: ", StringComparison.Ordinal) && line.Contains($": rank 1 (process ", StringComparison.Ordinal) && line.EndsWith("within 4 s", StringComparison.Ordinal)
            : line.Contains("rank 1", StringComparison.Ordinal) && line.Contains("signal 9", StringComparison.Ordinal));
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(60), $"it took {clock.Elapsed}");
    }

    /// <summary>The two; addresses exist inside of them only. All that runs there ends when this is disposed.</summary>
    private sealed class Hosts : IDisposable
    {
        private static int made;

        private readonly string first = $"nibble-{Environment.ProcessId}-{++made}a";
        private readonly string second = $"nibble-{Environment.ProcessId}-{made}b";
        private readonly TempFolder folder = new();

        public Hosts()
        {
            DistributedProgram.Mpirun(2, []); // Or the test is skipped.
            Assert.SkipUnless(IsOpenMpi, "The two hosts are told of in Open MPI's options.");
            Assert.SkipWhen(Tool("ip") is null || Tool("unshare") is null, "There is no ip or no unshare: apt-get install iproute2 util-linux.");
            Assert.SkipUnless(Ip("netns", "add", first), "Network namespaces cannot be made here.");
            bool joined = Ip("netns", "add", second)
                && Ip("-n", first, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", second)
                && new[] { (first, "10.0.0.1/30"), (second, "10.0.0.2/30") }.All(host =>
                    Ip("-n", host.Item1, "link", "set", "lo", "up") && Ip("-n", host.Item1, "addr", "add", host.Item2, "dev", "cable") && Ip("-n", host.Item1, "link", "set", "cable", "up"));
            if (!joined)
            {
                Dispose();
                Assert.Skip("Network namespaces cannot be joined here.");
            }

            // In place of ssh: the host's address, then the command.
            File.WriteAllText(folder["agent"], $"#!/bin/bash\nshift\nexec ip netns exec {second} unshare --uts bash -c \"hostname nibble-b && $*\"\n");
            Process.Start("chmod", ["700", folder["agent"]]).WaitForExit();
        }

        /// <summary>What the first host sent, of all interfaces that are no loopback.</summary>
        public long BytesOnCable => File.Exists(folder["bytes"]) ? long.Parse(File.ReadAllText(folder["bytes"]).Trim(), System.Globalization.CultureInfo.InvariantCulture) : 0;

        /// <summary>One rank of the program on each.</summary>
        public ProcessStartInfo Mpirun(string[] arguments)
        {
            ProcessStartInfo local = DistributedProgram.Mpirun(2, []);
            string[] network = ["--mca", "plm_rsh_agent", folder["agent"], "--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include", "cable", "--mca", "oob_tcp_if_include", "cable"];
            string command = $"\"$@\"; code=$?; cat /sys/class/net/cable/statistics/tx_bytes > {folder["bytes"]}; exit $code";
            return new ProcessStartInfo(Tool("ip")!,
            [
                "netns", "exec", first, "bash", "-c", command, "mpirun", local.FileName, .. local.ArgumentList, .. network, "--host", "10.0.0.1:1,10.0.0.2:1", Program, .. arguments,
            ]);
        }

        public void CutCable()
        {
            Ip("-n", first, "link", "set", "cable", "down");
        }

        public string ProcessOnSecond() => Pids(second).First(process => IsRank(process, 1));

        public void EndLauncherAfterRankZero()
        {
            while (Pids(first).Any(process => IsRank(process, 0)))
            {
                Thread.Sleep(200);
            }

            Thread.Sleep(TimeSpan.FromSeconds(3));
            EndAll();
        }

        public void Dispose()
        {
            EndAll();
            Ip("netns", "del", first);
            Ip("netns", "del", second);
            folder.Dispose();
        }

        private void EndAll()
        {
            foreach (string process in Pids(first).Concat(Pids(second)))
            {
                Signal("-KILL", process);
            }
        }

        private static bool IsRank(string process, int rank)
        {
            try
            {
                return File.ReadAllText($"/proc/{process}/environ").Contains($"OMPI_COMM_WORLD_RANK={rank}", StringComparison.Ordinal);
            }
            catch (IOException)
            {
                return false; // It has just ended.
            }
        }

        private static string[] Pids(string host)
        {
            using Process listing = Process.Start(new ProcessStartInfo(Tool("ip")!, ["netns", "pids", host]) { RedirectStandardOutput = true, RedirectStandardError = true })!;
            return listing.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        }

        private static bool Ip(params string[] arguments)
        {
            using Process process = Process.Start(new ProcessStartInfo(Tool("ip")!, arguments) { RedirectStandardError = true })!;
            process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0;
        }
    }
}
