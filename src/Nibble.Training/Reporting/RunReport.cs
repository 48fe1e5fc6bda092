using System.Globalization;
using Nibble.Data.Pages;
using Nibble.Evaluation;
using Nibble.Modeling.Checkpoints;
using Nibble.Training.Configuration;

namespace Nibble.Training.Reporting;

/// <summary>What one run came to, or several beside each other, as a page.</summary>
public sealed class RunReport
{
    /// <summary>The page in a run's folder.</summary>
    public const string HtmlFile = "report.html";

    /// <summary>The same in Markdown.</summary>
    public const string MarkdownFile = "report.md";

    private readonly IReadOnlyList<RunRecord> runs;
    private readonly IReadOnlyList<string> names;

    /// <summary>A report on runs.</summary>
    /// <param name="runs">At least one.</param>
    public RunReport(IReadOnlyList<RunRecord> runs)
    {
        ArgumentNullException.ThrowIfNull(runs);
        this.runs = runs;
        names = [.. runs.Select(run => runs.Count(other => other.Name == run.Name) == 1 ? run.Name : run.Folder)];
    }

    private RunRecord? Single => runs.Count == 1 ? runs[0] : null;

    private string Title => Single is { } run ? $"Run {run.Name}" : $"{runs.Count} runs: {string.Join(", ", names)}";

    /// <summary>Writes both pages into a run's folder.</summary>
    /// <exception cref="InvalidDataException">It holds no run, or a file of it is damaged.</exception>
    public static void Save(string folder)
    {
        var report = new RunReport([RunRecord.Load(folder)]);
        AtomicFile.WriteText(Path.Combine(folder, HtmlFile), report.ToHtml());
        AtomicFile.WriteText(Path.Combine(folder, MarkdownFile), report.ToMarkdown());
    }

    /// <summary>One HTML page that needs nothing else.</summary>
    public string ToHtml() => Fill(new HtmlPage(Title)).ToString()!;

    /// <summary>The same in Markdown, the curves as a table.</summary>
    public string ToMarkdown() => Fill(new MarkdownPage(Title)).ToString()!;

    private IPage Fill(IPage page)
    {
        Table(page, null, "",
            ("folder", run => run.Folder),
            ("status", run => run.Manifest.IsComplete ? "completed" : "not finished"),
            ("method", run => ConfigBinder.KeyOf(run.Manifest.Config.Method.ToString())),
            ("base model", run => run.Manifest.Config.Model),
            ("training data", run => run.Manifest.Config.Data.Train),
            ("started", run => Time(run.Manifest.Started)),
            ("ended", run => run.Manifest.Ended is { } end ? Time(end) : null),
            ("steps", run => (run.Manifest.Results?.Steps ?? run.LastStep?.Step)?.ToString(CultureInfo.InvariantCulture)),
            ("trained parameters", run => run.Manifest.Results is { } results ? string.Create(CultureInfo.InvariantCulture, $"{results.TrainableParameters:N0} of {results.TotalParameters:N0}") : null),
            ("last training loss", run => Number(run.LastStep?.Loss)),
            ("last evaluation loss", run => Number(run.LastEvaluation?.EvalLoss)),
            ("tokens a second", run => run.Steps.Count == 0 ? null : run.Steps.Select(step => step.TokensPerSecond).Order().ElementAt(run.Steps.Count / 2).ToString("0", CultureInfo.InvariantCulture)),
            ("peak memory", run => run.Manifest.Results is { } results ? ByteSize.Format(results.PeakMemoryBytes) : null));
        page.Heading("Loss");
        page.Chart(new LineChart("Loss by step", "step", "loss") { Curves = [.. Enumerable.Range(0, runs.Count).SelectMany(CurvesOf)] });
        Metrics(page);
        Samples(page);
        Settings(page);
        Provenance(page);
        return page;
    }

    private IEnumerable<Curve> CurvesOf(int i)
    {
        RunRecord run = runs[i];
        (int Step, double Loss)[] losses = [.. run.Steps.Select(step => (step.Step, step.Loss))];
        (double, double)[] trend = [.. losses.Zip(LossPlot.Smoothed(losses), (point, smooth) => ((double)point.Step, smooth))];
        (double, double)[] evaluations = [.. run.Evaluations.Select(evaluation => ((double)evaluation.Step, evaluation.EvalLoss))];
        return Single is null
            ? [new Curve(names[i], i, CurveStyle.Line, trend), new Curve($"{names[i]}, evaluation", i, CurveStyle.Marked, evaluations)]
            :
            [
                new Curve("training loss", 0, CurveStyle.Faint, [.. losses.Select(point => ((double)point.Step, point.Loss))]),
                new Curve("training loss, smoothed", 0, CurveStyle.Line, trend), new Curve("evaluation loss", 1, CurveStyle.Marked, evaluations),
            ];
    }

    /// <summary>Stored evaluations, and the last scores of the run's own evaluations.</summary>
    private void Metrics(IPage page)
    {
        Dictionary<(string Metric, string On), string>[] scores = [.. runs.Select(Scores)];
        (string Metric, string On)[] keys = [.. scores.SelectMany(found => found.Keys).Distinct()];
        if (keys.Length > 0)
        {
            page.Heading("Metrics");
            page.Paragraph("In brackets: where the value lies with 95% confidence.");
            page.Table(["metric", "on", .. Single is null ? names : ["value"]], keys.Select(key => (string[])[key.Metric, key.On, .. scores.Select(found => found.GetValueOrDefault(key, ""))]));
        }
    }

    private static Dictionary<(string Metric, string On), string> Scores(RunRecord run)
    {
        var scores = new Dictionary<(string, string), string>();
        foreach ((string metric, double score) in run.LastEvaluation?.Scores ?? new Dictionary<string, double>())
        {
            scores[(metric, "the run's evaluation data")] = Number(score)!;
        }

        foreach (EvaluationReport report in run.Reports)
        {
            string on = string.Create(CultureInfo.InvariantCulture, $"{Path.GetFileName(report.Data)}, {report.Examples} examples{(IsOfBase(report) ? ", base model" : "")}");
            foreach (EvaluationResult result in report.Results)
            {
                string interval = result.Interval is { } range ? $" [{Number(range.Low)}, {Number(range.High)}]" : "";
                scores[(result.HigherIsBetter ? result.Metric : $"{result.Metric} (less is better)", on)] = Number(result.Score) + interval;
            }
        }

        return scores;

        bool IsOfBase(EvaluationReport report) => run.Manifest.Config.Method != Method.Full && report is { Adapter: null, Model: not null };
    }

    private void Samples(IPage page)
    {
        string[] prompts = [.. runs.SelectMany(run => run.Samples).Select(sample => sample.Prompt).Distinct()];
        for (int i = 0; i < prompts.Length; i++)
        {
            if (i == 0)
            {
                page.Heading("Samples");
            }

            (string Name, RunSample Sample)[] answered = [.. runs.Zip(names).SelectMany(run => run.First.Samples.Where(sample => sample.Prompt == prompts[i]).Take(1).Select(sample => (run.Second, sample)))];
            bool same = answered.All(answer => answer.Sample.Before == answered[0].Sample.Before);
            page.Table(
                [$"sample {i + 1}", ""],
                [
                    ["prompt", Short(prompts[i])], ["expected", Short(answered[0].Sample.Expected)],
                    .. answered.Take(same ? 1 : answered.Length).Select(answer => (string[])[same ? "before" : $"{answer.Name}, before", Short(answer.Sample.Before)]),
                    .. answered.Where(answer => answer.Sample.After is not null).Select(answer => (string[])[Single is null ? $"{answer.Name}, after" : "after", Short(answer.Sample.After!)]),
                ]);
        }
    }

    private void Settings(IPage page)
    {
        Dictionary<string, string>[] settings = [.. runs.Select(run => ConfigBinder.Settings(run.Manifest.Config).ToDictionary())];
        string[] keys = [.. settings[0].Keys.Where(key => key != "output_dir")];
        if (Single is null)
        {
            page.Heading("Configuration: what differs");
            string[] differing = [.. keys.Where(key => settings.Any(setting => setting[key] != settings[0][key]))];
            if (differing.Length == 0)
            {
                page.Paragraph("Nothing.");
                return;
            }

            page.Table(["key", .. names], differing.Select(key => (string[])[key, .. settings.Select(setting => setting[key])]));
            return;
        }

        Dictionary<string, string> defaults = ConfigBinder.Settings(new RunConfig()).ToDictionary();
        page.Heading("Configuration: what differs from the defaults");
        page.Table(["key", "value", "default"], keys.Where(key => settings[0][key] != defaults[key]).Select(key => new[] { key, settings[0][key], defaults[key] }));
        page.Heading("Configuration: all");
        page.Table(["key", "value"], keys.Select(key => new[] { key, settings[0][key] }));
    }

    private void Provenance(IPage page)
    {
        if (runs.All(run => !run.Manifest.IsComplete))
        {
            return;
        }

        Table(page, "Versions and devices", "",
            ("engine", run => run.Manifest.Environment?.EngineVersion),
            ("TorchSharp", run => run.Manifest.Environment?.TorchsharpVersion),
            (".NET", run => run.Manifest.Environment?.Runtime),
            ("device", run => run.Manifest.Environment?.Device),
            ("instruction set", run => run.Manifest.Environment?.InstructionSet),
            ("threads", run => run.Manifest.Environment?.Threads.ToString(CultureInfo.InvariantCulture)));
        string[] inputs = [.. runs.SelectMany(run => run.Manifest.Hashes?.Inputs.Keys ?? []).Distinct()];
        string[] files = Single is null ? [] : [.. runs[0].Manifest.Hashes!.Model.Keys];
        Table(page, "SHA-256", "of",
        [
            ("adapter version (weights)", run => run.Manifest.Hashes?.Adapter),
            ("base model (weights)", run => run.Manifest.Hashes?.Base),
            .. inputs.Select(key => (key, (Func<RunRecord, string?>)(run => run.Manifest.Hashes?.Inputs.GetValueOrDefault(key)))),
            .. files.Select(file => ($"base model: {file}", (Func<RunRecord, string?>)(run => run.Manifest.Hashes?.Model.GetValueOrDefault(file)))),
        ]);
    }

    /// <summary>A column a run; what is known of no run is left out.</summary>
    private void Table(IPage page, string? heading, string corner, params (string Name, Func<RunRecord, string?> Of)[] rows)
    {
        if (heading is not null)
        {
            page.Heading(heading);
        }

        page.Table(
            [corner, .. Single is null ? names : [""]],
            rows.Select(row => (string[])[row.Name, .. runs.Select(run => row.Of(run) ?? "")]).Where(row => row.Skip(1).Any(cell => cell.Length > 0)));
    }

    private static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture) + " UTC";

    private static string? Number(double? value) => value?.ToString("0.####", CultureInfo.InvariantCulture);

    /// <summary>A long text's beginning.</summary>
    private static string Short(string text)
    {
        const int Longest = 2000;
        return text.Length <= Longest ? text : $"{text[..Longest]}… ({text.Length} characters)";
    }
}
