using System.Diagnostics;
using System.Text.Json.Nodes;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>SIGKILL, which no program can prepare for.</summary>
[Collection("nibble")] // Programs that share the processors would only wait for each other.
public class KillTests
{
    private const int Steps = 16;

    /// <summary>Twenty-five kills in all: at random times, after random steps, and while a checkpoint is written.</summary>
    [Theory]
    [InlineData("lora", "adamw_torch", 9)]
    [InlineData("qlora", "adamw_8bit", 8)]
    [InlineData("full", "adamw_torch", 8)]
    public void A_run_that_is_killed_again_and_again_resumes_to_the_losses_and_weights_of_an_undisturbed_one(string method, string optimizer, int kills)
    {
        using var folder = new TempFolder();
        var clock = Stopwatch.StartNew();
        Assert.False(Run(folder["whole"], (_, _) => { }));
        TimeSpan duration = clock.Elapsed;
        var random = new Random(kills);
        int interruptedWriting = 0;
        for (int killed = 0; killed < kills;)
        {
            Action<Process, string> kill = (killed % 3) switch
            {
                0 => AtTime(random.NextDouble() * duration),
                1 => AtStep(random.Next(1, 5), TimeSpan.FromMilliseconds(random.Next(20))),
                _ => AtWriting(random.Next(3), TimeSpan.FromMilliseconds(random.NextDouble() * 3)),
            };
            if (Run(folder["killed"], kill))
            {
                killed++;
                interruptedWriting += Directory.Exists(folder["killed"]) && Directory.EnumerateDirectories(folder["killed"], ".checkpoint-*").Any() ? 1 : 0;
            }
            else
            {
                RequireEqual();
                Directory.Delete(folder["killed"], recursive: true);
            }
        }

        Assert.False(Run(folder["killed"], (_, _) => { }));
        RequireEqual();
        Assert.True(interruptedWriting > 0, "No kill met a checkpoint half written.");

        void RequireEqual()
        {
            Assert.Equal(Logged(folder["whole"]), Logged(folder["killed"]));
            string weights = method == "full" ? "model.safetensors" : "adapter_model.safetensors";
            Assert.Equal(File.ReadAllBytes(Path.Combine(folder["whole"], weights)), File.ReadAllBytes(Path.Combine(folder["killed"], weights)));
            Assert.Equal(["checkpoint-14", "checkpoint-16"], Directory.EnumerateDirectories(folder["killed"]).Select(Path.GetFileName).Order());
            Assert.Empty(Directory.EnumerateFiles(folder["killed"], "*.tmp"));
        }

        bool Run(string output, Action<Process, string> kill) => Killed(
            kill, output, $"method={method}", $"training.optim={optimizer}", $"training.max_steps={Steps}", "training.save_steps=2", "training.logging_steps=1",
            "training.gradient_accumulation_steps=2", "training.per_device_train_batch_size=2", "data.max_length=128", "data.eval_ratio=0.1", "training.eval_steps=4",
            "training.early_stopping_patience=99", "training.report_samples=0");
    }

    private static Action<Process, string> AtTime(TimeSpan time) => (process, _) =>
    {
        if (!process.WaitForExit(time))
        {
            process.Kill();
        }
    };

    private static Action<Process, string> AtStep(int count, TimeSpan after) => (process, _) =>
    {
        while (count > 0 && process.StandardError.ReadLine() is { } line)
        {
            count -= line.StartsWith("step ", StringComparison.Ordinal) ? 1 : 0;
        }

        Thread.Sleep(after);
        process.Kill();
    };

    private static Action<Process, string> AtWriting(int skip, TimeSpan after) => (process, output) =>
    {
        var seen = new HashSet<string>();
        while (seen.Count <= skip && !process.HasExited)
        {
            if (Directory.Exists(output))
            {
                seen.UnionWith(Directory.EnumerateDirectories(output, ".checkpoint-*.tmp"));
            }
        }

        var clock = Stopwatch.StartNew();
        SpinWait.SpinUntil(() => clock.Elapsed >= after); // Shorter than a sleep can be.
        process.Kill();
    };

    /// <summary>Whether a run was killed before it came to its end.</summary>
    private static bool Killed(Action<Process, string> kill, string output, params string[] settings)
    {
        string[] all =
        [
            $"model={SharedFolder.Path("models", "stories260K", "hf")}", $"output_dir={output}",
            $"data.train={SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl")}", "dtype=float32", .. settings,
        ];
        string[] arguments = ["train", "--resume", .. all.SelectMany(setting => new[] { "--set", setting })];
        using Process process = Process.Start(new ProcessStartInfo(TestedProgram.Path, arguments) { RedirectStandardError = true })!;
        kill(process, output);
        string error = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode is 0 or 137, error);
        return process.ExitCode == 137;
    }

    /// <summary>Everything in the log that is not measured.</summary>
    private static string[] Logged(string output) =>
    [
        .. File.ReadLines(Path.Combine(output, "metrics.jsonl")).Select(line =>
        {
            JsonObject metrics = JsonNode.Parse(line)!.AsObject();
            metrics.Remove("tokens_per_second");
            metrics.Remove("peak_memory_bytes");
            return metrics.ToJsonString();
        }),
    ];
}
