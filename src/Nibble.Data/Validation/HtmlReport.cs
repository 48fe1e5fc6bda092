using System.Globalization;
using Nibble.Data.Pages;

namespace Nibble.Data.Validation;

/// <summary>A validation report as one HTML page, with histograms as inline SVG.</summary>
internal static class HtmlReport
{
    public static string Write(ValidationReport report)
    {
        var page = new HtmlPage($"Data validation: {Path.GetFileName(report.Files[0])}", heading: "Data validation");
        page.Paragraph(string.Join('\n', report.Files));
        page.Add($"<p>{report.Records:N0} records, <span class=\"error\">{report.Errors:N0} errors</span>, <span class=\"warning\">{report.Warnings:N0} warnings</span>.</p>\n");
        Counts(page, "Issues", "issue", report.Counts);
        DatasetStatistics statistics = report.Statistics;
        Histogram(page, "Words of a question", statistics.QuestionWords, null);
        Histogram(page, "Words of an answer", statistics.AnswerWords, null);
        Histogram(page, "Tokens of an example", statistics.Tokens, report.MaxLength);
        Counts(page, "Languages (guessed)", "language", statistics.Languages);
        Counts(page, "Labels", "answer", statistics.Labels);
        Counts(page, "Turns", "role", statistics.Turns);
        Issues(page, report);
        return page.ToString();
    }

    private static void Counts(HtmlPage page, string title, string kind, IReadOnlyDictionary<string, long> counts)
    {
        if (counts.Count == 0)
        {
            return;
        }

        page.Heading(title);
        page.Table(
            [kind, "records"], counts.OrderByDescending(item => item.Value).Select(item => new[] { item.Key, item.Value.ToString("N0", CultureInfo.InvariantCulture) }), numbersFrom: 1);
    }

    private static void Issues(HtmlPage page, ValidationReport report)
    {
        if (report.Issues.Count == 0)
        {
            return;
        }

        page.Heading("Places");
        page.Add($"<p>{report.Issues.Count:N0} of {report.Errors + report.Warnings:N0} issues.</p>\n<table><tr><th>place</th><th>issue</th><th>what</th></tr>\n");
        foreach (ValidationIssue issue in report.Issues)
        {
            page.Add($"<tr><td>{Path.GetFileName(issue.Place.File)}:{issue.Place.Line}</td><td class=\"{issue.Severity}\">{issue.Code}</td><td>{issue.Message}</td></tr>\n");
        }

        page.Add($"</table>\n");
    }

    private static void Histogram(HtmlPage page, string title, LengthDistribution lengths, int? limit)
    {
        if (lengths.Count == 0)
        {
            return;
        }

        const int Width = 720;
        const int Height = 140;
        IReadOnlyList<(int From, int To, long Count)> bars = lengths.Ranges(48);
        double step = (double)Width / bars.Count;
        long highest = bars.Max(bar => bar.Count);
        page.Add($"<h2>{title}</h2>\n<p>mean {lengths.Mean:0.#}, median {lengths.Quantile(0.5)}, 95% {lengths.Quantile(0.95)}, 99% {lengths.Quantile(0.99)}, longest {lengths.Max}</p>\n");
        page.Add($"<svg width=\"{Width}\" height=\"{Height + 20}\" viewBox=\"0 0 {Width} {Height + 20}\" role=\"img\" aria-label=\"{title}\">\n");
        for (int i = 0; i < bars.Count; i++)
        {
            double height = (double)bars[i].Count / highest * Height;
            page.Add($"<rect x=\"{i * step:0.##}\" y=\"{Height - height:0.##}\" width=\"{Math.Max(1, step - 1):0.##}\" height=\"{height:0.##}\"><title>{bars[i].From} to {bars[i].To}: {bars[i].Count:N0}</title></rect>\n");
        }

        if (limit is { } most && most >= lengths.Min && most <= lengths.Max)
        {
            double x = (double)(most - lengths.Min) / (bars[^1].To - lengths.Min + 1) * Width;
            page.Add($"<line x1=\"{x:0.##}\" y1=\"0\" x2=\"{x:0.##}\" y2=\"{Height}\"><title>max_length {most}</title></line>\n");
        }

        page.Add($"<text x=\"0\" y=\"{Height + 15}\">{lengths.Min}</text><text x=\"{Width}\" y=\"{Height + 15}\" text-anchor=\"end\">{lengths.Max}</text>\n</svg>\n");
    }
}
