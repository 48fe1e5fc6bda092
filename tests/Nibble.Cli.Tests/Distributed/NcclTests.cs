using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>Runs of several processes over NCCL's calling code, with NCCL emulated; see tests/Nibble.Ranks.</summary>
[Collection("nibble")] // Programs that share the processors would only wait for each other.
public class NcclTests : DistributedProgram
{
    private static readonly string Emulated = Path.Combine(Artifacts, "native", "release", "tests", "libnibble_nccl_emulated.so");

    [Fact]
    public void Two_processes_that_meet_over_MPI_train_as_one_does()
    {
        using var folder = new TempFolder();
        string[] settings = ["--set", "training.optim=adamw_8bit", "--set", "training.zero_stage=2", "--set", "training.max_steps=4"]; // Shares differ in size.
        AssertDone(Watch(new ProcessStartInfo(Program, Train(folder["1"], "full", 4, settings))));
        AssertDone(Watch(WithNccl(Mpirun(2, [Ranks, .. Pairs(Train(folder["2"], "full", 2, settings))]))));
        AssertSame(folder["1"], folder["2"], 1e-5);
    }

    [Fact]
    public void Processes_of_torchrun_whose_agent_keeps_MASTER_PORT_for_itself_train_as_one_does()
    {
        using var folder = new TempFolder();
        string[] settings = ["--set", "training.zero_stage=1", "--set", "training.optim=adamw_torch", "--set", "training.max_steps=4"];
        AssertDone(Watch(new ProcessStartInfo(Program, Train(folder["1"], "full", 4, settings))));
        using var agent = new TcpListener(IPAddress.Loopback, 0);
        agent.Start();
        int port = ((IPEndPoint)agent.LocalEndpoint).Port;
        foreach ((int code, List<string> lines) in Torchrun(2, port, Train(folder["2"], "full", 2, settings), agent: true))
        {
            Assert.True(code == 0, string.Join('\n', lines));
        }

        AssertSame(folder["1"], folder["2"], 1e-5);
    }

    [Theory]
    [InlineData("-KILL", "NCCL: ")]
    [InlineData("-STOP", "not done within 8 s")]
    public void A_process_of_torchrun_that_dies_or_hangs_ends_the_others_in_time_and_is_named(string signal, string reason)
    {
        using var folder = new TempFolder();
        var clock = Stopwatch.StartNew();
        string[] arguments = Train(folder["out"], "lora", 1, ["--set", "training.max_steps=100000", "--set", "training.ddp_timeout=8"]); // They meet within it too.
        (int Code, List<string> Lines)[] ranks = Torchrun(3, FreePort(), arguments, signal);
        foreach (int other in new[] { 0, 2 })
        {
            Assert.Equal(1, ranks[other].Code);
            string line = Assert.Single(ranks[other].Lines, line => line.StartsWith("nibble: ", StringComparison.Ordinal));
            Assert.StartsWith($"nibble: rank {other}: ", line, StringComparison.Ordinal);
            Assert.Contains(": rank 1 (process ", line, StringComparison.Ordinal);
            Assert.EndsWith("did not come to this step", line, StringComparison.Ordinal);
        }

        // Who is the first to give up ends the operations of the others.
        Assert.Contains(ranks.SelectMany(rank => rank.Lines), line => line.Contains(reason, StringComparison.Ordinal));
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(40), $"it took {clock.Elapsed}");
    }

    [Theory]
    [InlineData("NIBBLE_NCCL", "/nonexistent/libnccl.so", "NCCL does not load: /nonexistent/libnccl.so: cannot open shared object file: No such file or directory (NIBBLE_NCCL names it)")]
    [InlineData("NIBBLE_NCCL", "libm.so.6", "libm.so.6 is not NCCL that can be used: it has no ncclGetVersion")]
    [InlineData("NIBBLE_NCCL_EMULATED_VERSION", "2804", "is NCCL 2.8.4; 2.14.0 or later is needed")]
    [InlineData("NIBBLE_CUDA_DRIVER", "libm.so.6", "libm.so.6 is not the CUDA driver that can be used: it has no cuEventCreate")]
    [InlineData("MASTER_ADDR", "", "MASTER_ADDR is not set")]
    [InlineData("MASTER_PORT", "x", "MASTER_PORT is 'x'; it must be a port number")]
    [InlineData("WORLD_SIZE", "3", "rank 1, rank 2 of 3 did not come to 127.0.0.1:")]
    public void What_is_wrong_with_the_library_or_the_environment_is_said_in_one_line(string variable, string value, string text)
    {
        using var folder = new TempFolder();
        bool comes = variable.StartsWith("NIBBLE", StringComparison.Ordinal); // The other rank.
        string limit = $"training.ddp_timeout={(comes ? 60 : 1)}"; // Programs that start beside others take seconds to meet.
        ProcessStartInfo start = OfTorchrun(0, variable == "WORLD_SIZE" ? 2 : 1, FreePort(), Train(folder["out"], "lora", 1, ["--set", limit]));
        start.Environment["WORLD_SIZE"] = "2";
        start.Environment[variable] = value;
        Task<(int Code, List<string> Lines)>? other = comes
            ? Task.Run(() => Watch(OfTorchrun(1, 2, int.Parse(start.Environment["MASTER_PORT"]!), Train(folder["other"], "lora", 1, ["--set", limit]))))
            : null;
        (int code, List<string> lines) = Watch(start);
        Assert.Equal(1, code);
        Assert.Contains(text, Assert.Single(lines), StringComparison.Ordinal);
        Assert.StartsWith("nibble: rank 0: ", lines[0], StringComparison.Ordinal);
        Assert.NotEqual(0, other?.Result.Code ?? 1);
    }

    [Fact]
    public void A_rank_that_finds_no_other_says_where_it_looked()
    {
        using var folder = new TempFolder();
        int port = FreePort();
        (int code, List<string> lines) = Watch(OfTorchrun(1, 2, port, Train(folder["out"], "lora", 1, ["--set", "training.ddp_timeout=1"])));
        Assert.Equal(1, code);
        Assert.StartsWith($"nibble: rank 1: rank 1 did not find rank 0 at 127.0.0.1:{port} (MASTER_ADDR, MASTER_PORT) within 1 s: ", Assert.Single(lines), StringComparison.Ordinal);
    }

    private static void AssertDone((int Code, List<string> Lines) run) => Assert.True(run.Code == 0, string.Join('\n', run.Lines));

    /// <summary>All processes of a run, started one by one; rank 1 gets the signal at rank 0's third step.</summary>
    private static (int Code, List<string> Lines)[] Torchrun(int size, int port, string[] arguments, string? signal = null, bool agent = false)
    {
        ProcessStartInfo[] starts = [.. Enumerable.Range(0, size).Select(rank => OfTorchrun(rank, size, port, arguments))];
        var second = new TaskCompletionSource<int>();
        Task<(int, List<string>)>[] ranks =
        [
            .. starts.Select((start, rank) => Task.Run(() =>
            {
                start.Environment["TORCHELASTIC_USE_AGENT_STORE"] = agent ? "True" : "";
                start.Environment["OMP_NUM_THREADS"] = "1";
                return Watch(start, rank == 0 && signal is not null ? _ => Signal(signal, $"{second.Task.Result}") : null, id =>
                {
                    if (rank == 1)
                    {
                        second.SetResult(id);
                    }
                });
            })),
        ];
        Task.WaitAll([ranks[0], .. ranks.Skip(2)]);
        if (signal == "-STOP")
        {
            Signal("-KILL", $"{second.Task.Result}");
        }

        return [.. ranks.Select(rank => rank.Result)];
    }

    private static ProcessStartInfo OfTorchrun(int rank, int size, int port, string[] arguments)
    {
        ProcessStartInfo start = WithNccl(new ProcessStartInfo(Ranks, Pairs(arguments)));
        (start.Environment["RANK"], start.Environment["LOCAL_RANK"], start.Environment["WORLD_SIZE"]) = ($"{rank}", $"{rank}", $"{size}");
        (start.Environment["MASTER_ADDR"], start.Environment["MASTER_PORT"]) = ("127.0.0.1", $"{port}");
        return start;
    }

    private static ProcessStartInfo WithNccl(ProcessStartInfo start)
    {
        if (!File.Exists(Emulated))
        {
            Assert.Skip($"{Emulated} is not built: cmake --preset release -DNIBBLE_BUILD_TESTS=ON, in native/.");
        }

        start.Environment["NIBBLE_NCCL"] = Emulated;
        start.Environment["NIBBLE_CUDA_DRIVER"] = Emulated;
        return start;
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
