using System.Diagnostics;
using System.Globalization;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>Runs of several processes, as mpirun starts them.</summary>
[Collection("nibble")] // Programs that share the processors would only wait for each other.
public class DistributedTests : DistributedProgram
{
    [Theory]
    [InlineData("lora", "float32", "adamw_torch", 0, 1e-5)]
    [InlineData("qlora", "float32", "adamw_torch", 0, 1e-5)]
    [InlineData("full", "float32", "adamw_torch", 0, 1e-5)]
    [InlineData("full", "float32", "adamw_torch", 1, 1e-5)]
    [InlineData("full", "float32", "adamw_8bit", 2, 1e-5)]
    [InlineData("full", "bfloat16", "adamw_torch", 0, 1e-3)] // A sum that differs in its last bit may round one weight to its other neighbour, which moves a loss by some 1e-4.
    [InlineData("full", "float32", "adamw_8bit", 3, 1e-5, "training.offload_parameters=disk", "training.offload_optimizer=disk", "training.param_persistence_threshold=0")]
    public void One_two_and_four_processes_have_the_same_losses_evaluations_and_weights(
        string method, string dtype, string optimizer, int stage, double tolerance, params string[] others)
    {
        using var folder = new TempFolder();
        string[] settings = ["--set", $"dtype={dtype}", "--set", $"training.optim={optimizer}", "--set", $"training.zero_stage={stage}", "--set", "training.max_steps=4", .. others.SelectMany(other => new[] { "--set", other })];
        foreach (int processes in new[] { 1, 2, 4 })
        {
            (int code, List<string> lines) = Run(processes, Train(folder[$"{processes}"], method, accumulation: 4 / processes, settings));
            Assert.True(code == 0, string.Join('\n', lines));
            Assert.Equal(4, lines.Count(line => line.StartsWith("step ", StringComparison.Ordinal) && !line.Contains("eval", StringComparison.Ordinal))); // Rank 0's alone.
        }

        AssertSame(folder["1"], folder["2"], tolerance);
        AssertSame(folder["1"], folder["4"], tolerance);
    }

    [Fact]
    public void In_bfloat16_processes_with_a_micro_batch_each_come_to_the_weights_of_one_process_to_the_bit()
    {
        using var folder = new TempFolder();
        string Weights(int processes, int accumulation, int stage)
        {
            string name = $"{processes}-{accumulation}-{stage}";
            (int code, List<string> lines) = Run(processes, Train(folder[name], "full", accumulation, [
                "--set", "dtype=bfloat16", "--set", "training.optim=adamw_8bit", "--set", $"training.zero_stage={stage}", "--set", "training.max_grad_norm=0", // Norms are summed in another order.
                "--set", "training.max_steps=4", "--set", "training.report_samples=0",
            ]));
            Assert.True(code == 0, string.Join('\n', lines));
            return Convert.ToHexString(File.ReadAllBytes(Path.Combine(folder[name], "model.safetensors")));
        }

        // Shares are summed in the order of the ranks, as one process adds its micro-batches; two values have one sum in any order.
        string two = Weights(processes: 1, accumulation: 2, stage: 0);
        Assert.All([0, 1], stage => Assert.Equal(two, Weights(2, 1, stage)));
        string four = Weights(processes: 1, accumulation: 4, stage: 0);
        Assert.All([2, 3], stage => Assert.Equal(four, Weights(4, 1, stage)));
    }

    [Fact]
    public void Settings_of_parameters_and_checkpoints_hold_in_processes_that_share_out_everything()
    {
        using var folder = new TempFolder();
        string[] settings =
        [
            "--set", "training.freeze=[model.embed_tokens, model.layers.1.*]", "--set", "training.lr_groups=[model.layers.0.*=0.5]", "--set", "training.save_async=true",
            "--set", "training.early_stopping_patience=3", "--set", "training.eval_metrics=[rouge1]", "--set", "training.eval_max_new_tokens=4", "--set", "training.save_steps=2", "--set", "training.max_steps=7",
        ];
        Assert.Equal(0, Run(1, Train(folder["one"], "full", 4, settings)).Code);
        Assert.Equal(0, Run(4, Train(folder["four"], "full", 1, [.. settings, "--set", "training.zero_stage=3"])).Code);
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
        Assert.Contains(lines, line => line.Contains("rank 1", StringComparison.Ordinal) && line.Contains("signal 9", StringComparison.Ordinal));

        int saved = Directory.GetDirectories(folder["out"], "checkpoint-*").Max(name => int.Parse(name[(name.LastIndexOf('-') + 1)..], CultureInfo.InvariantCulture));
        (code, lines) = Run(1, Train(folder["out"], "full", 2, ["--set", $"training.max_steps={saved + 1}", "--set", "training.zero_stage=1", "--resume"]));
        Assert.True(code == 0, string.Join('\n', lines));
        Assert.Contains(lines, line => line.StartsWith($"step {saved + 1} ", StringComparison.Ordinal));
    }

    [Fact]
    public void Shares_of_weights_without_masters_and_updates_in_the_backward_pass_change_no_bit()
    {
        using var folder = new TempFolder();
        foreach (int stage in new[] { 0, 3 })
        {
            // The sum of two processes' gradients has one order.
            (int code, List<string> lines) = Run(2, Train(folder[$"{stage}"], "full", 1, [
                "--set", "dtype=bfloat16", "--set", "training.bf16_stochastic_round=true", "--set", $"training.optimizer_in_bwd={(stage == 3 ? "true" : "false")}", "--set", "training.max_grad_norm=0",
                "--set", "training.optim=adamw_8bit", "--set", $"training.zero_stage={stage}", "--set", "training.param_persistence_threshold=0", "--set", "training.max_steps=4",
            ]));
            Assert.True(code == 0, string.Join('\n', lines));
        }

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
            Train(folder["out"], method, 1, ["--set", "training.max_steps=100000", "--set", "training.report_samples=0", "--set", "training.ddp_timeout=4", "--set", $"training.zero_stage={stage}"]),
            signal: "-STOP");
        Assert.NotEqual(0, code);
        Assert.Contains(lines, line => line.StartsWith("nibble: rank ", StringComparison.Ordinal)
            && line.Contains(": rank 1 (process ", StringComparison.Ordinal) && line.EndsWith("did not come to this step within 4 s", StringComparison.Ordinal));
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(60), $"it took {clock.Elapsed}");
    }

    [Theory]
    [InlineData("model=/nonexistent", 1, "/nonexistent is not a folder")]
    [InlineData("training.zero_stage=3", 2, "training.zero_stage 3 is for method full")]
    [InlineData("device=cuda:0", 2, "each of the 2 processes of this run computes on its own")]
    public void What_all_processes_find_wrong_is_said_once(string setting, int expected, string text)
    {
        using var folder = new TempFolder();
        (int code, List<string> lines) = Run(2, Train(folder["out"], "lora", 1, ["--set", setting]));
        Assert.Equal(expected, code);
        string line = Assert.Single(lines, line => line.StartsWith("nibble:", StringComparison.Ordinal));
        Assert.StartsWith("nibble: rank 0: ", line, StringComparison.Ordinal);
        Assert.Contains(text, line, StringComparison.Ordinal);
    }

    /// <summary>The exit code and the lines on standard error; rank 1 gets the signal at the third step.</summary>
    private static (int Code, List<string> Lines) Run(int processes, string[] arguments, string? signal = null) =>
        Watch(processes == 1 ? new ProcessStartInfo(Program, arguments) : Mpirun(processes, [Program, .. arguments]), signal is null ? null : launcher => Signal(signal, ProcessOfRank1(launcher)));
}
