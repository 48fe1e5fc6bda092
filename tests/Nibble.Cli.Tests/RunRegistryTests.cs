using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;
using Nibble.Cli.Registry;
using Nibble.Evaluation;
using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Cli.Tests;

/// <summary>Reports, the registry of runs, and their reproduction.</summary>
[Collection("nibble")]
public sealed class RunRegistryTests : NibbleProgram, IDisposable
{
    private static readonly string Model = SharedFolder.Path("models", "stories260K", "hf");

    private readonly TempFolder folder = new();

    public RunRegistryTests() => File.WriteAllLines(
        folder["data.jsonl"], Enumerable.Range(0, 12).Select(i => $"{{\"prompt\": \"Once {i}\", \"completion\": \" upon a time\"}}"));

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Runs_are_listed_with_what_they_read_and_came_to()
    {
        Assert.Equal(0, Train("a").Code);
        Assert.Equal(0, Train("b", "data.eval_ratio=0.3", "method=qlora").Code);
        JsonArray runs = Runs();
        Assert.Equal(2, runs.Count);
        JsonNode b = runs[0]!;
        RunManifest manifest = RunManifest.Load(folder["b"]);
        Assert.Equal((2L, "completed", "qlora", folder["b"], Model), ((long)b["id"]!, (string)b["status"]!, (string)b["method"]!, (string)b["folder"]!, (string)b["base"]!));
        Assert.Equal(
            (manifest.Hashes!.Adapter, manifest.Hashes.Base, manifest.Hashes.Inputs["data.train"], manifest.Results!.FinalLoss, manifest.Results.FinalEvalLoss, 3),
            ((string)b["adapter_hash"]!, (string)b["base_hash"]!, (string)b["data_hash"]!, (double?)b["loss"], (double?)b["eval_loss"], (int)b["steps"]!));
        Assert.Null(runs[1]!["eval_loss"]);

        string[] table = Ours("runs").Output.Split('\n');
        Assert.Contains(table, line => line.Contains(manifest.Hashes.Adapter[..8], StringComparison.Ordinal) && line.TrimEnd().EndsWith(folder["b"], StringComparison.Ordinal));
        Assert.Equal(2, (int)JsonNode.Parse(Ours("runs", "--json", "--limit", "1").Output)!.AsArray().Single()!["id"]!);
    }

    [Fact]
    public void An_adapter_is_traced_to_its_run_also_when_it_was_copied_and_measured_elsewhere()
    {
        Train("a");
        Train("b", "seed=7");
        Directory.CreateDirectory(folder["copy"]);
        foreach (string name in new[] { "adapter_model.safetensors", "adapter_config.json" })
        {
            File.Copy(Path.Combine(folder["a"], name), Path.Combine(folder["copy"], name));
        }

        string[] eval = ["eval", "--model", Model, "--adapter", folder["copy"], "--data", folder["data.jsonl"], "--metrics", "perplexity", "--out"];
        Assert.Equal(0, Ours([.. eval, folder["first"]]).Code);
        Assert.Equal(0, Ours([.. eval, folder["again"]]).Code); // Takes the first one's place.
        Assert.Equal(0, Ours([.. eval, folder["few"], "--limit", "5"]).Code);
        JsonNode run = JsonNode.Parse(Ours("runs", "--json", "--adapter", folder["copy"]).Output)!.AsArray().Single()!;
        Assert.Equal((1, folder["a"]), ((int)run["id"]!, (string)run["folder"]!));
        JsonArray metrics = run["metrics"]!.AsArray();
        Assert.Equal([5, 12], metrics.Select(metric => (int)metric!["examples"]!));
        EvaluationResult measured = EvaluationReport.Load(folder["again"]).Results.Single();
        Assert.Equal((measured.Metric, measured.Score, measured.Interval?.Low), ((string)metrics[1]!["metric"]!, (double)metrics[1]!["score"]!, (double?)metrics[1]!["low"]));
        Assert.Contains("on 12 of data.jsonl", Ours("runs", "--adapter", ((string)run["adapter_hash"]!)[..8]).Output, StringComparison.Ordinal);

        Result unknown = Ours("runs", "--adapter", "0123456789");
        Assert.Equal((1, true), (unknown.Code, unknown.Error.Contains("no run", StringComparison.Ordinal)));
        Assert.Equal(2, Ours("runs", "--adapter", "nowhere").Code);
    }

    [Fact]
    public void An_interrupted_run_goes_on_under_its_number_and_a_failed_or_killed_one_is_told()
    {
        Assert.Equal(130, Interrupted("a", "INT"));
        Assert.Equal("interrupted", (string)Runs().Single()!["status"]!);
        Assert.InRange((int)Runs().Single()!["steps"]!, 5, 100);
        Assert.Equal(0, Ours([.. Arguments("a", "training.max_steps=200"), "--resume"]).Code);
        Assert.Equal(("completed", 200), ((string)Runs().Single()!["status"]!, (int)Runs().Single()!["steps"]!));

        Interrupted("b", "KILL");
        Assert.Equal("died", (string)Runs()[0]!["status"]!);
        Assert.Equal(1, Train("c", "method=full", "training.learning_rate=1e30", "training.max_grad_norm=0", "training.max_steps=50").Code);
        Assert.Equal("failed", (string)Runs()[0]!["status"]!);
        Assert.Equal(1, Train("c").Code); // The folder holds another run, so this one never began.
        Assert.Equal(3, Runs().Count);
    }

    [Fact]
    public void Processes_that_begin_and_end_runs_at_once_lose_none()
    {
        Process[] processes = [.. Enumerable.Range(0, 4).Select(i => Process.Start(InOurHome(Start(Arguments($"run{i}"))))!)];
        Assert.All(processes, process =>
        {
            string error = process.StandardError.ReadToEnd();
            process.WaitForExit();
            Assert.DoesNotContain("warning", error, StringComparison.Ordinal);
        });
        InOurHome(() => Parallel.For(0, 40, i => RunRegistry.Begin(Somewhere($"{i}"), resume: false)));
        JsonArray runs = JsonNode.Parse(Ours("runs", "--json", "--limit", "100").Output)!.AsArray();
        Assert.Equal(44, runs.Select(run => (long)run!["id"]!).Distinct().Count());
        Assert.Equal(4, runs.Count(run => (string)run!["status"]! == "completed"));
    }

    [Theory]
    [InlineData("damaged")]
    [InlineData("a folder")]
    [InlineData("no home")]
    [InlineData("of a later version")]
    [InlineData("locked")]
    public void A_registry_that_cannot_be_used_costs_a_run_one_line_of_warning(string registry)
    {
        string home = folder["home"];
        Directory.CreateDirectory(home);
        string file = Path.Combine(home, "runs.db");
        using var connection = new SqliteConnection($"Data Source={file};Pooling=False");
        switch (registry)
        {
            case "damaged":
                File.WriteAllText(file, new string('x', 5000));
                break;
            case "a folder":
                Directory.CreateDirectory(file);
                break;
            case "no home":
                Directory.Delete(home);
                File.WriteAllText(home, "");
                break;
            default:
                InOurHome(() => RunRegistry.Begin(Somewhere("a"), resume: false));
                connection.Open();
                using (SqliteCommand command = connection.CreateCommand())
                {
                    command.CommandText = registry == "locked" ? "BEGIN EXCLUSIVE" : "PRAGMA user_version = 99";
                    command.ExecuteNonQuery();
                }

                break;
        }

        Result train = Train("a");
        Assert.Equal(0, train.Code);
        Assert.Single(train.Error.Split('\n'), line => line.StartsWith("nibble: warning: the registry of runs", StringComparison.Ordinal));
        if (registry is "damaged" or "of a later version")
        {
            Result runs = Ours("runs");
            Assert.Equal((1, 1), (runs.Code, runs.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length));
        }
    }

    [Fact]
    public void A_report_is_renewed_in_its_folder_and_several_runs_are_compared()
    {
        Train("a");
        Train("b", "training.learning_rate=0.01");
        File.Delete(Path.Combine(folder["a"], "report.html"));
        Assert.Equal(0, Ours("report", "1").Code);
        Assert.Contains("<svg", File.ReadAllText(Path.Combine(folder["a"], "report.html")), StringComparison.Ordinal);
        Assert.Contains("| training.learning_rate | 0.0002 | 0.01 |", Ours("report", folder["a"], "2").Output, StringComparison.Ordinal);
        Assert.Equal(0, Ours("report", folder["a"], folder["b"], "--out", folder["both.html"]).Code);
        Assert.Contains("<td>training.learning_rate</td><td>0.0002</td><td>0.01</td>", File.ReadAllText(folder["both.html"]), StringComparison.Ordinal);

        Assert.Equal(2, Ours("report", "1", "--out", "x.pdf").Code);
        Assert.Contains("there is no run 9", Ours("report", "9").Error, StringComparison.Ordinal);
        Assert.Contains("holds no run", Ours("report", folder.Path).Error, StringComparison.Ordinal);
        Directory.Delete(folder["b"], recursive: true);
        Assert.Contains("which does not exist any more", Ours("report", "2").Error, StringComparison.Ordinal);
        Assert.Equal(0, Train("b", "seed=9").Code);
        Assert.Contains("which holds another run now", Ours("report", "2").Error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_run_is_reproduced_to_the_bit_from_its_manifest_and_from_another_folder()
    {
        // Its paths are relative to where it was started.
        ProcessStartInfo start = InOurHome(Start(["train", "--set", $"model={Model}", "--set", "data.train=data.jsonl", "--set", "output_dir=a", "--set", "data.eval_ratio=0.3", .. Small]));
        start.WorkingDirectory = folder.Path;
        using (Process train = Process.Start(start)!)
        {
            train.StandardError.ReadToEnd();
            train.WaitForExit();
            Assert.Equal(0, train.ExitCode);
        }

        Result again = Ours("reproduce", "1");
        int logged = File.ReadLines(Path.Combine(folder["a"], "metrics.jsonl")).Count();
        Assert.Equal((0, $"Identical to the bit: {logged} losses and scores, and the weights."), (again.Code, again.Output.Trim()));
        Assert.Equal(RunManifest.Load(folder["a"]).Hashes!.Adapter, RunManifest.Load(folder["a-reproduced"]).Hashes!.Adapter);
        Assert.Equal(["a-reproduced", "a"], Runs().Select(run => Path.GetFileName((string)run!["folder"]!)));
        Assert.Contains("holds another run", Ours("reproduce", "1").Error, StringComparison.Ordinal);
    }

    [Fact]
    public void A_reproduction_says_where_it_differs_and_what_may_be_why()
    {
        Train("a");
        string metrics = Path.Combine(folder["a"], "metrics.jsonl");
        string[] lines = File.ReadAllLines(metrics);
        double loss = (double)JsonNode.Parse(lines[1])!["loss"]!;
        File.WriteAllLines(metrics, lines.Select((line, i) => i == 1 ? line.Replace($"\"loss\":{loss.ToString("R", CultureInfo.InvariantCulture)}", "\"loss\":1.5", StringComparison.Ordinal) : line));
        string manifest = Path.Combine(folder["a"], "run.json");
        File.WriteAllText(manifest, File.ReadAllText(manifest).Replace("\"threads\": ", "\"threads\": 10", StringComparison.Ordinal));
        Result again = Ours("reproduce", folder["a"], "--out", folder["again"]);
        Assert.Equal(1, again.Code);
        Assert.Contains("training loss: 1 of 3 differ, first at step 2 (1.5 and ", again.Output, StringComparison.Ordinal);
        Assert.Contains("threads was 10", again.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("weights", again.Output, StringComparison.Ordinal);
    }

    [Fact]
    public void A_file_that_changed_since_the_run_is_named_before_anything_is_run()
    {
        Train("a");
        File.AppendAllText(folder["data.jsonl"], "{\"prompt\": \"x\", \"completion\": \"y\"}\n");
        Result again = Ours("reproduce", folder["a"]);
        Assert.Equal(1, again.Code);
        Assert.Contains($"{folder["data.jsonl"]} has changed: its SHA-256 is ", again.Error, StringComparison.Ordinal);
        File.Delete(folder["data.jsonl"]);
        Assert.Contains($"{folder["data.jsonl"]} does not exist", Ours("reproduce", folder["a"]).Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["a-reproduced"]));

        Interrupted("b", "INT");
        Assert.Contains("has not come to its end", Ours("reproduce", folder["b"]).Error, StringComparison.Ordinal);
    }

    private static RunConfig Somewhere(string name) => new() { OutputDir = $"/runs/{name}", Model = "m", Data = new DataSection { Train = "d" } };

    private static string[] Small =>
        ["--set", "dtype=float32", "--set", "training.max_steps=3", "--set", "training.logging_steps=1", "--set", "training.gradient_accumulation_steps=1", "--set", "data.max_length=64"];

    private string[] Arguments(string output, params string[] changes) =>
    [
        "train", "--set", $"model={Model}", "--set", $"data.train={folder["data.jsonl"]}", "--set", $"output_dir={folder[output]}", .. Small, .. changes.SelectMany(change => new[] { "--set", change }),
    ];

    private Result Train(string output, params string[] changes) => Ours(Arguments(output, changes));

    private Result Ours(params string[] arguments) => InOurHome(() => Nibble(arguments));

    private JsonArray Runs() => JsonNode.Parse(Ours("runs", "--json").Output)!.AsArray();

    private ProcessStartInfo InOurHome(ProcessStartInfo start)
    {
        start.Environment["NIBBLE_HOME"] = folder["home"];
        start.RedirectStandardOutput = true;
        return start;
    }

    private T InOurHome<T>(Func<T> action)
    {
        string? home = Environment.GetEnvironmentVariable("NIBBLE_HOME");
        Environment.SetEnvironmentVariable("NIBBLE_HOME", folder["home"]);
        try
        {
            return action();
        }
        finally
        {
            Environment.SetEnvironmentVariable("NIBBLE_HOME", home);
        }
    }

    /// <summary>Sends a signal at the fifth step of a long run, and returns the exit code.</summary>
    private int Interrupted(string output, string signal)
    {
        if (!File.Exists(folder["data.jsonl"]))
        {
            File.WriteAllText(folder["data.jsonl"], "{\"prompt\": \"x\", \"completion\": \" y\"}\n");
        }

        using Process process = Process.Start(InOurHome(Start(Arguments(output, "training.max_steps=3000", "training.save_steps=1000"))))!;
        while (process.StandardError.ReadLine() is { } line)
        {
            if (line.Contains("step 5 ", StringComparison.Ordinal))
            {
                Process.Start("kill", [$"-{signal}", process.Id.ToString(CultureInfo.InvariantCulture)]).WaitForExit();
            }
        }

        process.WaitForExit();
        return process.ExitCode;
    }
}
