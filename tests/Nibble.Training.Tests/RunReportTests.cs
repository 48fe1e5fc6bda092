using System.Security.Cryptography;
using Nibble.Evaluation;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Training.Tests;

public class RunReportTests
{
    private const string Hostile = "<script>alert(1)</script> & |";

    [Fact]
    public void A_finished_run_is_read_back_as_it_was()
    {
        using var folder = new TempFolder();
        TrainingResult result = Train(folder);
        RunRecord run = RunRecord.Load(folder["out"]);
        Assert.True(run.Manifest.IsComplete);
        Assert.Equal(result.Losses, run.Steps.Select(step => (step.Step, step.Loss)));
        Assert.Equal(result.Evaluations, run.Evaluations);
        Assert.Equal(ConfigBinder.Settings(Config(folder)), ConfigBinder.Settings(run.Manifest.Config));
        Assert.Equal(Hash(Path.Combine(folder["out"], "adapter_model.safetensors")), run.Manifest.Hashes!.Adapter);
        Assert.Equal(Hash(Path.Combine(Config(folder).Model, "model.safetensors")), run.Manifest.Hashes.Base);
        Assert.Equal(Hash(folder["train.jsonl"]), run.Manifest.Hashes.Inputs["data.train"]);
        Assert.Contains("tokenizer.json", run.Manifest.Hashes.Model.Keys);

        static string Hash(string path) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(path)));
    }

    [Fact]
    public void Samples_are_the_greedy_answers_of_the_base_model_and_of_the_trained_one()
    {
        using var folder = new TempFolder();
        Train(folder);
        IReadOnlyList<RunSample> samples = RunRecord.Load(folder["out"]).Samples;
        Assert.Equal(2, samples.Count);
        Assert.Equal(["one day", "two days"], samples.Select(sample => sample.Expected.Trim()));
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(Config(folder).Model);
        using DecoderModel model = ModelLoader.Load(Config(folder).Model);
        Assert.Equal(samples.Select(sample => sample.Before), Answers());
        using LoraAdapter adapter = AdapterFolder.Load(model, folder["out"]);
        Assert.Equal(samples.Select(sample => sample.After), Answers());
        Assert.NotEqual(samples[0].Before, samples[0].After);

        string[] Answers() =>
        [
            .. samples.Select(sample => tokenizer.Decode(
                TextGenerator.Generate(model, [tokenizer.Encode(sample.Prompt.Replace("<s>", "", StringComparison.Ordinal).TrimStart(), addSpecialTokens: true)], new GenerationOptions { MaxNewTokens = 128 })[0],
                skipSpecialTokens: true)),
        ];
    }

    [Fact]
    public void A_resumed_run_keeps_the_answers_from_before_training_and_loses_no_bit()
    {
        using var folder = new TempFolder();
        Train(folder);
        Train(folder, "halves", "training.max_steps=3", "training.save_steps=1");
        IReadOnlyList<RunSample> half = RunRecord.Load(folder["halves"]).Samples;
        // What an earlier process answered is not asked again.
        string file = Path.Combine(folder["halves"], "samples.jsonl");
        File.WriteAllText(file, File.ReadAllText(file).Replace($"\"before\":\"{half[0].Before[..5]}", "\"before\":\"once!", StringComparison.Ordinal));
        new FineTuner(ConfigBinder.Load(null, Keys(folder, "halves"))).Run(resume: true, TestContext.Current.CancellationToken);
        Assert.StartsWith("once!", RunRecord.Load(folder["halves"]).Samples[0].Before, StringComparison.Ordinal);

        Train(folder, "none", "training.report_samples=0");
        Assert.False(File.Exists(Path.Combine(folder["none"], "samples.jsonl")));
        Assert.Equal(Weights("out"), Weights("none"));

        string Weights(string run) => RunRecord.Load(folder[run]).Manifest.Hashes!.Adapter;
    }

    [Fact]
    public void The_page_of_a_run_has_curves_metrics_samples_hashes_and_configuration_and_shows_text_as_text()
    {
        using var folder = new TempFolder();
        Train(folder);
        Directory.CreateDirectory(Path.Combine(folder["out"], "eval"));
        new EvaluationReport("m", folder["out"], $"/x/{Hostile[..8]}.jsonl", "0", 12, [new EvaluationResult("exact_match", 0.5, new Dictionary<string, double>()) { Interval = new(0.25, 0.75) }])
            .Save(Path.Combine(folder["out"], "eval", "evaluation.json"));
        RunReport.Save(folder["out"]);
        string html = File.ReadAllText(Path.Combine(folder["out"], "report.html"));
        RunRecord run = RunRecord.Load(folder["out"]);
        Assert.DoesNotContain("<script", html, StringComparison.Ordinal);
        Assert.DoesNotContain("src=", html, StringComparison.Ordinal);
        Assert.DoesNotContain("href=", html, StringComparison.Ordinal);
        string[] shown =
        [
            "<polyline class=\"c0 faint\"", "<polyline class=\"c1 marked\"", "<td>0.5 [0.25, 0.75]</td>", "&lt;script&gt;alert(1)&lt;/script&gt; &amp; |", run.Manifest.Hashes!.Adapter,
            run.Manifest.Hashes.Base, "<td>training.learning_rate</td><td>0.01</td><td>0.0002</td>", "<td>training.adam_beta2</td><td>0.999</td></tr>",
        ];
        Assert.All(shown, part => Assert.Contains(part, html, StringComparison.Ordinal));

        string markdown = File.ReadAllText(Path.Combine(folder["out"], "report.md"));
        Assert.DoesNotContain("<script", markdown, StringComparison.Ordinal);
        Assert.Contains("| training.learning_rate | 0.01 | 0.0002 |", markdown, StringComparison.Ordinal);
        Assert.Contains("| exact_match |", markdown, StringComparison.Ordinal);
        Assert.Contains("| step | training loss, smoothed | evaluation loss |", markdown, StringComparison.Ordinal);
    }

    [Fact]
    public void Several_runs_are_compared_by_their_curves_their_settings_that_differ_and_their_samples()
    {
        using var folder = new TempFolder();
        Train(folder, "a");
        Train(folder, "b", "training.learning_rate=0.02");
        var report = new RunReport([RunRecord.Load(folder["a"]), RunRecord.Load(folder["b"])]);
        string html = report.ToHtml();
        string[] shown =
        [
            "<polyline class=\"c0 line\"", "<polyline class=\"c1 line\"", "<polyline class=\"c1 marked\"", "</svg>b, evaluation</span>",
            "<td>training.learning_rate</td><td>0.01</td><td>0.02</td>", "<td>before</td>", "<td>a, after</td>", "<td>b, after</td>",
        ];
        Assert.All(shown, part => Assert.Contains(part, html, StringComparison.Ordinal));
        Assert.DoesNotContain("training.adam_beta2", html, StringComparison.Ordinal);
        Assert.Contains("| training.learning_rate | 0.01 | 0.02 |", report.ToMarkdown(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("run.json", "{", "run.json is damaged")]
    [InlineData("run.json", "{\"status\": \"completed\"}", "run.json is damaged")]
    [InlineData("run.json", null, "holds no run")]
    [InlineData("metrics.jsonl", "{\"step\": 1, \"loss\": \"x\"}\n", "metrics.jsonl is damaged")]
    [InlineData("metrics.jsonl", "[]\n", "metrics.jsonl is damaged")]
    [InlineData("samples.jsonl", "{\n", "samples.jsonl is damaged")]
    [InlineData("evaluation.json", "{}", "evaluation.json is no evaluation report")]
    public void A_damaged_file_of_a_run_is_named_in_one_line(string file, string? content, string part)
    {
        using var folder = new TempFolder();
        Train(folder);
        File.Delete(Path.Combine(folder["out"], file));
        if (content is not null)
        {
            File.WriteAllText(Path.Combine(folder["out"], file), content);
        }

        string message = Assert.Throws<InvalidDataException>(() => RunRecord.Load(folder["out"])).Message;
        Assert.Contains(part, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void A_run_that_is_going_on_has_a_report_too()
    {
        using var folder = new TempFolder();
        using var interruption = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() => { new FineTuner(Config(folder), new StopAt(4, interruption)).Run(cancellation: interruption.Token); });
        File.AppendAllText(Path.Combine(folder["out"], "metrics.jsonl"), "{\"step\": 5, \"lo");
        RunRecord run = RunRecord.Load(folder["out"]);
        Assert.Equal((false, 4, 4), (run.Manifest.IsComplete, run.LastStep!.Step, run.LastEvaluation!.Step));
        Assert.Equal(2, run.Samples.Count(sample => sample.After is null));
        Assert.Contains("not finished", new RunReport([run]).ToHtml(), StringComparison.Ordinal);
    }

    private static TrainingResult Train(TempFolder folder, string output = "out", params string[] changes) =>
        new FineTuner(ConfigBinder.Load(null, [.. Keys(folder, output), .. changes])).Run(cancellation: TestContext.Current.CancellationToken);

    private static RunConfig Config(TempFolder folder) => ConfigBinder.Load(null, Keys(folder, "out"));

    private static string[] Keys(TempFolder folder, string output)
    {
        File.WriteAllLines(folder["train.jsonl"], Enumerable.Range(0, 16).Select(i => $"{{\"prompt\": \"Once {i}\", \"completion\": \" upon a time\"}}"));
        File.WriteAllLines(folder["eval.jsonl"], [$"{{\"prompt\": \"{Hostile}\", \"completion\": \" one day\"}}", "{\"prompt\": \"Once\", \"completion\": \" two days\"}"]);
        return
        [
            $"model={SharedFolder.Path("models", "stories260K", "hf")}", "dtype=float32", $"output_dir={folder[output]}", $"data.train={folder["train.jsonl"]}",
            $"data.eval={folder["eval.jsonl"]}", "data.packing=false", "lora.target_modules=all-linear", "training.max_steps=8", "training.learning_rate=0.01",
            "training.logging_steps=1", "training.eval_steps=2", "training.gradient_accumulation_steps=1",
        ];
    }

    private sealed class StopAt(int step, CancellationTokenSource source) : ITrainingObserver
    {
        public void Progress(int done, int totalSteps, double loss)
        {
            if (done == step)
            {
                source.Cancel();
            }
        }
    }
}
