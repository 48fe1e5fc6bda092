using System.Globalization;
using Nibble.Evaluation;
using Nibble.Evaluation.Judging;
using Nibble.Evaluation.Predictions;
using Nibble.Evaluation.Statistics;

namespace Nibble.Cli.Commands.Eval;

/// <summary>Two evaluations of the same examples against each other: whether the second is better, and where.</summary>
internal sealed class ReportComparison
{
    /// <summary>Changed examples that are shown at either end.</summary>
    private const int Shown = 3;

    /// <summary>Of an answer that is shown.</summary>
    private const int Characters = 300;

    private readonly (EvaluationReport Report, IReadOnlyList<EvaluationExample> Answers) first;
    private readonly (EvaluationReport Report, IReadOnlyList<EvaluationExample> Answers) second;
    private readonly (string Metric, double First, double Second, PairedComparison Found)[] metrics;

    /// <summary>Compares what both measured.</summary>
    /// <param name="first">What is compared with, and its examples with their answers; none where they are not known.</param>
    /// <param name="second">What is compared.</param>
    /// <exception cref="InvalidDataException">They measured different examples, or no metric in common.</exception>
    public ReportComparison((EvaluationReport Report, IReadOnlyList<EvaluationExample> Answers) first, (EvaluationReport Report, IReadOnlyList<EvaluationExample> Answers) second)
    {
        (this.first, this.second) = (first, second);
        if (first.Report.DataSha256 != second.Report.DataSha256 || first.Report.Examples != second.Report.Examples)
        {
            throw new InvalidDataException(
                $"{first.Report.Data} ({first.Report.Examples} examples) and {second.Report.Data} ({second.Report.Examples} examples) are not the same examples; only evaluations of the same ones can be compared.");
        }

        metrics =
        [
            .. from before in first.Report.Results
               join after in second.Report.Results on before.Metric equals after.Metric
               select (before.Metric, before.Score, after.Score, PairedComparison.Of(before, after)),
        ];
        if (metrics.Length == 0)
        {
            throw new InvalidDataException("The two evaluations have no metric in common.");
        }
    }

    /// <summary>Reads an evaluation, and the answers beside it.</summary>
    public static (EvaluationReport Report, IReadOnlyList<EvaluationExample> Answers) Load(string folder)
    {
        EvaluationReport report = EvaluationReport.Load(folder);
        string answers = new EvaluationOutput(folder).Predictions;
        return (report, File.Exists(answers)
            ? [.. PredictionFile.Read(answers).OrderBy(prediction => prediction.Index).Select(prediction => new EvaluationExample(prediction.Prompt, prediction.References, prediction.Text))]
            : []);
    }

    /// <summary>For machines.</summary>
    public object Figures => metrics.Select(item => new
    {
        item.Metric,
        item.First,
        item.Second,
        item.Found.Difference,
        item.Found.Interval,
        p = item.Found.PValue,
        item.Found.Wins,
        item.Found.Losses,
        item.Found.Ties,
        item.Found.Changed,
    });

    /// <summary>How often a judge prefers the second's answer, from 0 to 1, a tie counting as half.</summary>
    /// <exception cref="InvalidDataException">The answers are not there, or the judge never chose.</exception>
    public Task<EvaluationResult> JudgeAsync(PairwiseJudge judge, CancellationToken cancellation) => first.Answers.Count > 0 && second.Answers.Count > 0
        ? judge.CompareAsync(second.Answers, first.Answers, cancellation)
        : throw new InvalidDataException("A judge reads answers, and one of the evaluations kept none; measure with a metric of answers and --out.");

    /// <summary>For people: a table, and the examples that changed most.</summary>
    public void Show(TextWriter output)
    {
        IEnumerable<string[]> rows = metrics.Select(item => (string[])
        [
            item.Metric, Figure(item.First), Figure(item.Second), Signed(item.Found.Difference),
            item.Found.Interval is { } range ? $"{Signed(range.Low)} .. {Signed(range.High)}" : "-",
            Figure(item.Found.PValue), $"{item.Found.Wins}", $"{item.Found.Losses}", $"{item.Found.Ties}",
        ]);
        output.Write(TextTable.Of([["metric", "first", "second", "difference", "95% interval", "p", "better", "worse", "equal"], .. rows]));
        if (first.Answers.Count == second.Answers.Count && first.Answers.Count > 0)
        {
            ShowChanged(output);
        }
    }

    private void ShowChanged(TextWriter output)
    {
        (string metric, _, _, PairedComparison found) = metrics[0];
        int[] most = found.Changed.Count <= 2 * Shown ? [.. found.Changed] : [.. found.Changed.Take(Shown), .. found.Changed.TakeLast(Shown)];
        foreach (int i in most)
        {
            output.WriteLine($"example {i + 1}, {metric} {Value(first.Report, i)} then {Value(second.Report, i)}");
            output.WriteLine($"  prompt     {Short(first.Answers[i].Prompt)}");
            output.WriteLine($"  reference  {Short(first.Answers[i].References is [string reference, ..] ? reference : "")}");
            output.WriteLine($"  first      {Short(first.Answers[i].Prediction ?? "")}");
            output.WriteLine($"  second     {Short(second.Answers[i].Prediction ?? "")}");
        }

        string Value(EvaluationReport report, int i) => Figure(report.Results.First(result => result.Metric == metric).Values[i] ?? double.NaN);
    }

    /// <summary>The end of a text, where a prompt asks and an answer concludes, on one line.</summary>
    private static string Short(string text)
    {
        string line = Terminal.Visible(text.ReplaceLineEndings(" ").Trim(), lines: false);
        return line.Length <= Characters ? line : $"\u2026{line[^Characters..]}";
    }

    private static string Figure(double value) => value.ToString("0.####", CultureInfo.InvariantCulture);

    private static string Signed(double value) => value.ToString("+0.####;-0.####;0", CultureInfo.InvariantCulture);
}
