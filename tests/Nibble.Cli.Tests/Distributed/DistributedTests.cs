using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>Runs of several processes, as mpirun starts them.</summary>
[Collection("nibble")] // Programs that share the processors would only wait for each other.
public class DistributedTests : DistributedProgram
{
    [Fact]
    public void One_two_and_four_processes_have_the_same_losses_evaluations_and_weights_with_every_method_type_optimizer_stage_and_offloading()
    {
        (string Method, string[] Settings)[] cases =
        [
            ("lora", []),
            ("qlora", []),
            ("full", ["training.optim=adamw_torch"]),
            ("full", ["training.optim=adamw_torch", "training.zero_stage=1"]),
            ("full", ["training.optim=adamw_8bit", "training.zero_stage=2"]),
            ("full", ["training.optim=adamw_8bit", "training.zero_stage=3", "training.offload_parameters=disk", "training.offload_optimizer=disk", "training.param_persistence_threshold=0"]),
        ];
        using var folder = new TempFolder();
        foreach (int processes in new[] { 1, 2, 4 })
        {
            RunAll(processes, [.. cases.Select((one, i) => Train(folder[$"{i}-{processes}"], one.Method, accumulation: 4 / processes, [.. Set("training.max_steps=4"), .. Set(one.Settings)]))]);
        }

        for (int i = 0; i < cases.Length; i++)
        {
            AssertSame(folder[$"{i}-1"], folder[$"{i}-2"], 1e-5);
            AssertSame(folder[$"{i}-1"], folder[$"{i}-4"], 1e-5);
        }
    }

    [Fact]
    public void In_bfloat16_gradients_that_are_summed_after_each_pass_come_to_the_weights_of_one_process_to_the_bit()
    {
        using var folder = new TempFolder();
        string[] Settings(int processes, int stage, bool each = false) => Train(folder[$"{processes}-{stage}"], "full", 4 / processes, Set(
            "dtype=bfloat16", "training.optim=adamw_8bit", $"training.zero_stage={stage}", $"training.sync_each_batch={(each ? "true" : "false")}", "training.max_grad_norm=0.5", "training.max_steps=4"));

        RunAll(1, Settings(1, 0));
        RunAll(2, Settings(2, 0, each: true), Settings(2, 1, each: true), Settings(2, 2), Settings(2, 3));
        RunAll(4, Settings(4, 0), Settings(4, 1), Settings(4, 3)); // A pass is all of a step.

        byte[] weights = File.ReadAllBytes(Path.Combine(folder["1-0"], "model.safetensors"));
        Assert.All(["2-0", "2-1", "2-2", "2-3", "4-0", "4-1", "4-3"], run =>
        {
            AssertSame(folder["1-0"], folder[run], 1e-6);
            Assert.Equal(weights, File.ReadAllBytes(Path.Combine(folder[run], "model.safetensors")));
        });
    }

    [Fact]
    public void Settings_of_parameters_and_checkpoints_hold_in_processes_that_share_out_everything()
    {
        using var folder = new TempFolder();
        string[] settings =
        [
            "--set", "training.freeze=[model.embed_tokens, model.layers.1.*]", "--set", "training.lr_groups=[model.layers.0.*=0.5]", "--set", "training.save_async=true",
            "--set", "training.early_stopping_patience=3", "--set", "training.eval_metrics=[rouge1]", "--set", "training.eval_max_new_tokens=4", "--set", "training.save_steps=2", "--set", "training.max_steps=7", "--set", "training.report_samples=1",
        ];
        Assert.Equal(0, Run(1, Train(folder["one"], "full", 4, settings)).Code);
        (int code, List<string> lines) = Run(4, Train(folder["four"], "full", 1, [.. settings, "--set", "training.zero_stage=3"]));
        Assert.True(code == 0, string.Join('\n', lines));
        Assert.Equal(7, lines.Count(line => line.StartsWith("step ", StringComparison.Ordinal) && !line.Contains("eval", StringComparison.Ordinal))); // Rank 0's alone.
        AssertSame(folder["one"], folder["four"], 1e-5);
        Assert.Equal(File.ReadAllText(Path.Combine(folder["one"], "samples.jsonl")), File.ReadAllText(Path.Combine(folder["four"], "samples.jsonl")));
    }

    [Fact]
    public void A_run_goes_on_in_another_number_of_processes()
    {
        using var folder = new TempFolder();
        string[] Steps(int steps) => ["--set", "training.lr_scheduler_type=constant", "--set", "training.save_steps=1", "--set", $"training.max_steps={steps}"];
        Assert.Equal(0, Run(1, Train(folder["whole"], "full", 4, Steps(6))).Code);
        Assert.Equal(0, Run(2, Train(folder["parts"], "full", 2, [.. Steps(2), "--set", "training.zero_stage=2", "--set", "training.optim=adamw_torch"])).Code);

        (int code, List<string> lines) = Run(4, Train(folder["parts"], "full", 2, [.. Steps(4), "--resume"]));
        Assert.Equal(1, code);
        Assert.Contains("resume with training.gradient_accumulation_steps=1", Assert.Single(lines, line => line.StartsWith("nibble:", StringComparison.Ordinal)), StringComparison.Ordinal);

        Assert.Equal(0, Run(4, Train(folder["parts"], "full", 1, [.. Steps(4), "--set", "training.zero_stage=3", "--resume"])).Code);
        Assert.Equal(0, Run(1, Train(folder["parts"], "full", 4, [.. Steps(6), "--resume"])).Code);
        AssertSame(folder["whole"], folder["parts"], 1e-5);
    }

    [Fact]
    public void A_process_that_is_killed_ends_the_run_which_goes_on_with_fewer()
    {
        using var folder = new TempFolder();
        (int code, List<string> lines) = Run(2, Train(folder["out"], "full", 1, ["--set", "training.max_steps=100000", "--set", "training.save_steps=1", "--set", "training.zero_stage=3"]), signal: "-KILL");
        Assert.NotEqual(0, code);
        if (IsOpenMpi) // MPICH says on standard output which process it was.
        {
            Assert.Contains(lines, line => line.Contains("rank 1", StringComparison.Ordinal) && line.Contains("signal 9", StringComparison.Ordinal));
        }

        int saved = Directory.GetDirectories(folder["out"], "checkpoint-*").Max(name => int.Parse(name[(name.LastIndexOf('-') + 1)..], CultureInfo.InvariantCulture));
        (code, lines) = Run(1, Train(folder["out"], "full", 2, ["--set", $"training.max_steps={saved + 1}", "--set", "training.zero_stage=1", "--resume"]));
        Assert.True(code == 0, string.Join('\n', lines));
        Assert.Contains(lines, line => line.StartsWith($"step {saved + 1} ", StringComparison.Ordinal));
    }

    [Fact]
    public void Shares_of_weights_without_masters_and_updates_in_the_backward_pass_change_no_bit()
    {
        using var folder = new TempFolder();
        // The sum of two processes' gradients has one order.
        RunAll(2, [.. new[] { 0, 3 }.Select(stage => Train(folder[$"{stage}"], "full", 1, Set(
            "dtype=bfloat16", "training.bf16_stochastic_round=true", $"training.optimizer_in_bwd={(stage == 3 ? "true" : "false")}", "training.max_grad_norm=0",
            "training.optim=adamw_8bit", $"training.zero_stage={stage}", "training.param_persistence_threshold=0", "training.max_steps=4")))]);

        AssertSame(folder["0"], folder["3"], 1e-6); // Norms are summed in another order.
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder["0"], "model.safetensors")), File.ReadAllBytes(Path.Combine(folder["3"], "model.safetensors")));
    }

    [Theory]
    [InlineData("lora", 0)]
    [InlineData("full", 3)]
    public void A_process_that_hangs_ends_the_run_in_time_and_is_named(string method, int stage)
    {
        using var folder = new TempFolder();
        var clock = Stopwatch.StartNew();
        (int code, List<string> lines) = Run(
            3,
            Train(folder["out"], method, 1, ["--set", "training.max_steps=100000", "--set", "training.ddp_timeout=4", "--set", $"training.zero_stage={stage}"]),
            signal: "-STOP");
        Assert.NotEqual(0, code);
        Assert.Contains(lines, line => line.StartsWith("nibble: rank ", StringComparison.Ordinal)
            && line.Contains(": rank 1 (process ", StringComparison.Ordinal) && line.EndsWith("did not come to this step within 4 s", StringComparison.Ordinal));
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(60), $"it took {clock.Elapsed}");
    }

    [Fact]
    public void A_process_that_never_joins_ends_the_run_in_time()
    {
        using var folder = new TempFolder();
        var clock = Stopwatch.StartNew();
        (int code, List<string> lines) = Watch(Mpirun(1, [Program, .. Train(folder["out"], "lora", 1, ["--set", "training.ddp_timeout=4"]), ":", "-n", "1", "sleep", "60"]));
        Assert.NotEqual(0, code);
        Assert.Contains(lines, line => line.StartsWith("nibble: rank 0: not all of the 2 processes", StringComparison.Ordinal) && line.EndsWith("joined within 4 s", StringComparison.Ordinal));
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(50), $"it took {clock.Elapsed}");
    }

    [Theory]
    [InlineData("model=/nonexistent", 1, "/nonexistent is not a folder")]
    [InlineData("training.zero_stage=3", 2, "training.zero_stage 3 is for method full")]
    [InlineData("device=cuda:0", 2, "each of the 2 processes of this run computes on its own")]
    public void What_all_processes_find_wrong_is_said_once(string setting, int expected, string text)
    {
        using var folder = new TempFolder();
        (int code, List<string> lines) = Run(2, Train(folder["out"], "lora", 1, ["--set", setting]));
        Assert.SkipUnless(IsOpenMpi || expected == CommandLineProgram.Failed, "MPICH does not end the others before all have joined: each says it.");
        Assert.Equal(expected, code);
        string line = Assert.Single(lines, line => line.StartsWith("nibble:", StringComparison.Ordinal));
        Assert.StartsWith("nibble: rank 0: ", line, StringComparison.Ordinal);
        Assert.Contains(text, line, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_for_machines_is_all_that_comes_out_of_the_launcher()
    {
        using var folder = new TempFolder();
        ProcessStartInfo start = Mpirun(2, [Program, .. Train(folder["out"], "lora", 1, ["--set", "training.max_steps=1", "--set", "training.report_samples=0", "--json"])]);
        start.Environment["TERM"] = "xterm";
        start.RedirectStandardOutput = true;
        using Process process = Process.Start(start)!;
        Assert.Equal(1, (int)JsonNode.Parse(process.StandardOutput.ReadToEnd())!["steps"]!);
    }

    private static string[] Set(params string[] settings) => [.. settings.SelectMany(setting => new[] { "--set", setting })];

    /// <summary>Runs that follow each other in processes that are started once; see tests/Nibble.Ranks.</summary>
    private static void RunAll(int processes, params string[][] runs)
    {
        string[] command = [Ranks, .. runs.SelectMany((run, i) => i == 0 ? Pairs(run) : ["--", .. Pairs(run)])];
        (int code, List<string> lines) = Watch(processes == 1 ? new ProcessStartInfo(command[0], command[1..]) : Mpirun(processes, command));
        Assert.True(code == 0, string.Join('\n', lines));
    }

    /// <summary>The exit code and the lines on standard error; rank 1 gets the signal at the third step.</summary>
    private static (int Code, List<string> Lines) Run(int processes, string[] arguments, string? signal = null) =>
        Watch(processes == 1 ? new ProcessStartInfo(Program, arguments) : Mpirun(processes, [Program, .. arguments]), signal is null ? null : launcher => Signal(signal, ProcessOfRank1(launcher)));
}
