using System.Diagnostics;
using System.Text.Json.Nodes;
using Nibble.Serving.Clusters;
using Nibble.Tests;

namespace Nibble.Serving.Tests;

/// <summary>Jobs that the service hands to Slurm, a real one of this machine alone.</summary>
[Collection("service")]
public sealed class SlurmExecutorTests(SlurmExecutorTests.Machine machine) : IClassFixture<SlurmExecutorTests.Machine>, IDisposable
{
    private readonly SlurmOnLoopback slurm = machine.Slurm;

    /// <summary>What a test that failed has left would keep the next one waiting.</summary>
    public void Dispose() => slurm.Clear();

    /// <summary>One cluster for all of these tests; where there is none, each says so.</summary>
    public sealed class Machine : IDisposable
    {
        private readonly Lazy<SlurmOnLoopback> slurm = new(() => new SlurmOnLoopback());

        public SlurmOnLoopback Slurm => slurm.Value;

        public void Dispose()
        {
            if (slurm.IsValueCreated)
            {
                slurm.Value.Dispose();
            }
        }
    }

    [Fact]
    public async Task A_job_comes_to_the_same_losses_and_weights_as_in_a_process_of_the_server()
    {
        await using Service service = Service.New();
        File.WriteAllText(service["job.sh"], $"#!/bin/sh\n#SBATCH --time=5\nenv > {service["environment"]}\nexec \"$@\"\n");
        await StartAsync(service, "--job-template", service["job.sh"]);
        string id = await service.CreateAsync(Service.Request("there", Undisturbed.Steps));
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal((Undisturbed.Steps, 1, 1.0), (job["step"]!.GetValue<int>(), job["attempts"]!.GetValue<int>(), job["progress"]!.GetValue<double>()));
        await Undisturbed.AssertSameAsync(service, "there");
        Assert.Equal(service.Losses("there")[^1], job["metrics"]!["loss"]!.GetValue<double>());
        IReadOnlyList<(string Status, string Reason)> changes = await service.ChangesAsync(id);
        Assert.Equal(["pending", "pending", "running", "completed"], changes.Select(change => change.Status));
        Assert.Matches($@"^slurm job \d+ is RUNNING on {SlurmOnLoopback.Node}$", changes[2].Reason);
        string environment = File.ReadAllText(service["environment"]);
        Assert.Contains($"SLURM_JOB_NAME=nibble-{id}-1", environment, StringComparison.Ordinal);
        Assert.DoesNotContain(Service.Secret, environment, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_job_is_cancelled_and_paused_where_it_runs_and_where_it_waits()
    {
        await using Service service = Service.New();
        File.WriteAllText(service["job.sh"], "#!/bin/sh\n#SBATCH --exclusive\nexec \"$@\"\n");
        await StartAsync(service, "--job-template", service["job.sh"]);
        string first = await service.CreateAsync(Service.Request("first", 100_000));
        await service.UntilSavedAsync(first, "first"); // Or Slurm might get the other one before.
        string second = await service.CreateAsync(Service.Request("second"));
        await service.UntilAsync(second, job => job["cluster_job"] is not null);
        Assert.Equal("pending", Status(await service.ReadAsync(second)));
        Assert.Equal("paused", Status(await service.PostAsync($"/v1/jobs/{second}/pause")));
        await UntilForgottenAsync(second, 1);
        await service.PostAsync($"/v1/jobs/{second}/resume");
        await service.UntilAsync(second, job => job["attempts"]!.GetValue<int>() == 2);
        using HttpResponseMessage running = await service.Client.DeleteAsync($"/v1/jobs/{first}");
        Assert.Equal("cancelled", Status(await service.UntilAsync(first, job => Status(job) == "cancelled")));
        Assert.NotEmpty(Directory.GetDirectories(service["outputs/first"], "checkpoint-*"));
        Assert.Equal(2, (await service.UntilAsync(second, "completed"))["attempts"]!.GetValue<int>());
        await UntilForgottenAsync(first, 1);
        Assert.Contains(await service.ChangesAsync(first), change => change == ("cancelled", "cancelled by a request; its checkpoints stay"));
    }

    [Fact]
    public async Task A_worker_that_does_not_listen_is_killed_and_one_that_Slurms_own_users_cancel_is_not_tried_again()
    {
        await using Service service = Service.New();
        await StartAsync(service);
        string deaf = await service.CreateAsync(Service.Request("deaf", 100_000));
        await service.UntilSavedAsync(deaf, "deaf");
        int worker = WorkerOf(service, "deaf");
        Service.Pause(worker);
        using HttpResponseMessage response = await service.Client.DeleteAsync($"/v1/jobs/{deaf}");
        await service.UntilAsync(deaf, job => Status(job) == "cancelled");
        await UntilAsync(() => !Directory.Exists($"/proc/{worker}"));

        string other = await service.CreateAsync(Service.Request("other", 100_000));
        await service.UntilSavedAsync(other, "other");
        Assert.Equal(0, slurm.Ask("scancel", $"--name=nibble-{other}-1").Code);
        await service.UntilAsync(other, job => Status(job) == "cancelled");
        Assert.Matches(@"^slurm job \d+ is CANCELLED; its checkpoints stay$", (await service.ChangesAsync(other))[^1].Reason);
    }

    [Fact]
    public async Task A_server_that_is_stopped_or_killed_finds_its_job_still_running_when_it_is_started_again()
    {
        await using Service service = Service.New();
        await StartAsync(service);
        string id = await service.CreateAsync(Service.Request("followed", Undisturbed.Steps));
        await service.UntilStepAsync(id, 1);
        int worker = WorkerOf(service, "followed");
        Service.Pause(worker); // So that it is not through before its servers are.
        await service.TerminateAsync();
        await StartAsync(service);
        await service.UntilAsync(id, job => job["attempts"]!.GetValue<int>() == 2);
        await service.KillAsync();
        Service.GoOn(worker);
        await StartAsync(service);
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal(3, job["attempts"]!.GetValue<int>());
        Assert.Equal([$"nibble-{id}-1"], Directory.GetDirectories(service["outputs/followed/.cluster"]).Select(Path.GetFileName)); // One worker from end to end.
        await Undisturbed.AssertSameAsync(service, "followed");
        Assert.Equal(Enumerable.Range(1, Undisturbed.Steps), await StepsAsync(service, id)); // Each was told once.
        Assert.Equal(["pending", "pending", "running", "running", "running", "completed"], (await service.ChangesAsync(id)).Select(change => change.Status));
    }

    [Fact]
    public async Task A_job_whose_machine_fails_goes_on_from_its_last_checkpoint_to_the_same_losses()
    {
        await using Service service = Service.New();
        await StartAsync(service);
        string id = await service.CreateAsync(Service.Request("moved", Undisturbed.Steps));
        await service.UntilSavedAsync(id, "moved");
        Service.Pause(WorkerOf(service, "moved")); // A machine that hangs: Slurm gives it up, and nobody there hears of it.
        Assert.Equal(0, slurm.Ask("scontrol", "update", $"nodename={SlurmOnLoopback.Node}", "state=down", "reason=test").Code);
        await service.UntilAsync(id, job => Status(job) == "pending");
        await UntilAsync(() => slurm.Ask("scontrol", "update", $"nodename={SlurmOnLoopback.Node}", "state=resume").Code == 0 || slurm.Ask("sinfo", "--noheader", "--format=%T").Output.Contains("idle", StringComparison.Ordinal));
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal(2, job["attempts"]!.GetValue<int>());
        await Undisturbed.AssertSameAsync(service, "moved");
        Assert.Contains(await service.ChangesAsync(id), change => change.Status == "pending" && change.Reason.Contains("is NODE_FAIL; another worker goes on from the last checkpoint", StringComparison.Ordinal));
    }

    [Fact]
    public async Task What_the_trainer_refuses_is_not_tried_again()
    {
        await using Service service = Service.New();
        File.WriteAllText(service["data/bad.jsonl"], "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": 1}\n");
        await StartAsync(service);
        JsonObject request = Service.Request("bad");
        request["training_data_path"] = "bad.jsonl";
        string id = await service.CreateAsync(request);
        JsonObject job = await service.UntilAsync(id, "failed");
        Assert.Equal(1, job["attempts"]!.GetValue<int>());
        Assert.Contains("bad.jsonl", job["error"]!.GetValue<string>(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_cannot_work_is_refused_at_the_start_in_one_line()
    {
        await using Service service = Service.New();
        service.Variables["SLURM_CONF"] = slurm.Configuration;
        File.WriteAllText(service["partition.sh"], "#!/bin/sh\n#SBATCH --partition=none\nexec \"$@\"\n");
        File.WriteAllText(service["nothing.sh"], "#!/bin/sh\nnibble worker\n");
        await RefusedAsync("sbatch refuses jobs: .*partition", "--executor", "slurm", "--job-template", service["partition.sh"]);
        await RefusedAsync("its last line must be: exec", "--executor", "slurm", "--job-template", service["nothing.sh"]);
        await RefusedAsync("--job-template cannot be read", "--executor", "slurm", "--job-template", service["none.sh"]);
        await RefusedAsync("--job-template is for jobs of a cluster", "--job-template", service["partition.sh"]);
        service.Variables["PATH"] = service["models"];
        await RefusedAsync("--executor slurm: there is no sbatch on PATH", "--executor", "slurm");

        async Task RefusedAsync(string words, params string[] options)
        {
            (int code, string error) = await service.RefuseAsync(options);
            Assert.Equal(2, code);
            Assert.Matches($"^nibble: .*{words}", error);
            Assert.DoesNotContain('\n', error);
        }
    }

    [Theory]
    [InlineData("PENDING", "0:0", "Waiting", "job 7 is PENDING (Priority)", 0)]
    [InlineData("SUSPENDED", "0:0", "Waiting", "job 7 is SUSPENDED (Priority)", 0)]
    [InlineData("RUNNING", "0:0", "Running", "job 7 is RUNNING on node1", 0)]
    [InlineData("COMPLETING", "0:0", "Running", "job 7 is COMPLETING on node1", 0)]
    [InlineData("COMPLETED", "0:0", "Ended", "job 7 is COMPLETED", 0)]
    [InlineData("FAILED", "127:0", "Ended", "job 7 is FAILED", 127)]
    [InlineData("FAILED", "0:9", "Ended", "job 7 is FAILED", 137)]
    [InlineData("CANCELLED", "0:15", "Cancelled", "job 7 is CANCELLED", 143)]
    [InlineData("OUT_OF_MEMORY", "0:125", "Failed", "job 7 is OUT_OF_MEMORY", 253)]
    [InlineData("TIMEOUT", "0:15", "Lost", "job 7 is TIMEOUT", 143)]
    [InlineData("NODE_FAIL", "1:0", "Lost", "job 7 is NODE_FAIL", 1)]
    [InlineData("PREEMPTED", "0:15", "Lost", "job 7 is PREEMPTED", 143)]
    public void What_Slurm_says_of_a_job_decides_whether_it_is_tried_again(string state, string code, string phase, string words, int exit) =>
        Assert.Equal(new ClusterState(Enum.Parse<ClusterPhase>(phase), words, exit), SlurmCluster.StateOf(["nibble-x-1", "7", state, code, "Priority", "node1"]));

    private static string Status(JsonObject job) => job["status"]!.GetValue<string>();

    private async Task StartAsync(Service service, params string[] options)
    {
        service.Variables["SLURM_CONF"] = slurm.Configuration;
        await service.StartAgainAsync(["--executor", "slurm", .. options]);
    }

    /// <summary>Waits until an attempt of a job neither runs nor waits.</summary>
    private Task UntilForgottenAsync(string id, int attempt) => UntilAsync(() => slurm.Ask("squeue", "--noheader", $"--name=nibble-{id}-{attempt}") is (0, ""));

    private static async Task UntilAsync(Func<bool> condition)
    {
        for (var clock = Stopwatch.StartNew(); !condition() && clock.Elapsed < TimeSpan.FromSeconds(90);)
        {
            await Task.Delay(100);
        }

        Assert.True(condition());
    }

    /// <summary>The process that writes into a run's folder.</summary>
    private static int WorkerOf(Service service, string output) => JsonNode.Parse(File.ReadAllText(service[$"outputs/{output}/.worker.json"]))!["Process"]!.GetValue<int>();

    /// <summary>The steps whose figures were stored as events.</summary>
    private static async Task<IReadOnlyList<int>> StepsAsync(Service service, string id)
    {
        string[] lines = (await service.Client.GetStringAsync($"/v1/jobs/{id}/events")).Split('\n');
        return [.. lines.Zip(lines.Skip(1)).Where(pair => pair.First == "event: metrics").Select(pair => JsonNode.Parse(pair.Second["data: ".Length..])!["step"]!.GetValue<int>())];
    }
}
