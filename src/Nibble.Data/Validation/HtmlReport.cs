using System.Globalization;
using System.Net;
using System.Text;

namespace Nibble.Data.Validation;

/// <summary>A validation report as one HTML page: no script, no file beside it, histograms as inline SVG.</summary>
internal static class HtmlReport
{
    private const string Style =
        "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
        + "table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}"
        + "th{border-bottom:1px solid #999}.n{text-align:right}.error{color:#b00020}.warning{color:#8a5a00}"
        + "svg{display:block;margin:.3rem 0 1.5rem}svg rect{fill:#4a7ab5}svg text{font:11px system-ui,sans-serif;fill:#555}svg line{stroke:#b00020}";

    public static string Write(ValidationReport report)
    {
        var page = new StringBuilder();
        page.Append(Invariant($"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Data validation: {Escape(Path.GetFileName(report.Files[0]))}</title><style>{Style}</style></head><body>\n"));
        page.Append(Invariant($"<h1>Data validation</h1>\n<p>{string.Join("<br>", report.Files.Select(Escape))}</p>\n"));
        page.Append(Invariant($"<p>{report.Records:N0} records, <span class=\"error\">{report.Errors:N0} errors</span>, <span class=\"warning\">{report.Warnings:N0} warnings</span>.</p>\n"));
        Counts(page, "Issues", "issue", report.Counts);
        DatasetStatistics statistics = report.Statistics;
        Histogram(page, "Words of a question", statistics.QuestionWords, null);
        Histogram(page, "Words of an answer", statistics.AnswerWords, null);
        Histogram(page, "Tokens of an example", statistics.Tokens, report.MaxLength);
        Counts(page, "Languages (guessed)", "language", statistics.Languages);
        Counts(page, "Labels", "answer", statistics.Labels);
        Counts(page, "Turns", "role", statistics.Turns);
        Issues(page, report);
        return page.Append("</body></html>\n").ToString();
    }

    private static void Counts(StringBuilder page, string title, string kind, IReadOnlyDictionary<string, long> counts)
    {
        if (counts.Count == 0)
        {
            return;
        }

        page.Append(Invariant($"<h2>{title}</h2>\n<table><tr><th>{kind}</th><th class=\"n\">records</th></tr>\n"));
        foreach ((string key, long count) in counts.OrderByDescending(item => item.Value))
        {
            page.Append(Invariant($"<tr><td>{Escape(key)}</td><td class=\"n\">{count:N0}</td></tr>\n"));
        }

        page.Append("</table>\n");
    }

    private static void Issues(StringBuilder page, ValidationReport report)
    {
        if (report.Issues.Count == 0)
        {
            return;
        }

        page.Append(Invariant($"<h2>Places</h2>\n<p>{report.Issues.Count:N0} of {report.Errors + report.Warnings:N0} issues.</p>\n<table><tr><th>place</th><th>issue</th><th>what</th></tr>\n"));
        foreach (ValidationIssue issue in report.Issues)
        {
            page.Append(Invariant($"<tr><td>{Escape(Path.GetFileName(issue.Place.File))}:{issue.Place.Line}</td><td class=\"{issue.Severity}\">{issue.Code}</td><td>{Escape(issue.Message)}</td></tr>\n"));
        }

        page.Append("</table>\n");
    }

    private static void Histogram(StringBuilder page, string title, LengthDistribution lengths, int? limit)
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
        page.Append(Invariant($"<h2>{title}</h2>\n<p>mean {lengths.Mean:0.#}, median {lengths.Quantile(0.5)}, 95% {lengths.Quantile(0.95)}, 99% {lengths.Quantile(0.99)}, longest {lengths.Max}</p>\n"));
        page.Append(Invariant($"<svg width=\"{Width}\" height=\"{Height + 20}\" viewBox=\"0 0 {Width} {Height + 20}\" role=\"img\" aria-label=\"{title}\">\n"));
        for (int i = 0; i < bars.Count; i++)
        {
            double height = (double)bars[i].Count / highest * Height;
            page.Append(Invariant($"<rect x=\"{i * step:0.##}\" y=\"{Height - height:0.##}\" width=\"{Math.Max(1, step - 1):0.##}\" height=\"{height:0.##}\"><title>{bars[i].From} to {bars[i].To}: {bars[i].Count:N0}</title></rect>\n"));
        }

        if (limit is { } most && most >= lengths.Min && most <= lengths.Max)
        {
            double x = (double)(most - lengths.Min) / (bars[^1].To - lengths.Min + 1) * Width;
            page.Append(Invariant($"<line x1=\"{x:0.##}\" y1=\"0\" x2=\"{x:0.##}\" y2=\"{Height}\"><title>max_length {most}</title></line>\n"));
        }

        page.Append(Invariant($"<text x=\"0\" y=\"{Height + 15}\">{lengths.Min}</text><text x=\"{Width}\" y=\"{Height + 15}\" text-anchor=\"end\">{lengths.Max}</text>\n</svg>\n"));
    }

    private static string Escape(string text) => WebUtility.HtmlEncode(text);

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
