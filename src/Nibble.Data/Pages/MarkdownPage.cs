using System.Net;
using System.Text;

namespace Nibble.Data.Pages;

/// <summary>A page in GitHub's Markdown.</summary>
/// <param name="title">Its heading.</param>
public sealed class MarkdownPage(string title) : IPage
{
    private readonly StringBuilder page = new($"# {Escape(title)}\n");

    /// <inheritdoc/>
    public void Heading(string text) => page.Append("\n## ").Append(Escape(text)).Append('\n');

    /// <inheritdoc/>
    public void Paragraph(string text) => page.Append('\n').Append(Escape(text)).Append('\n');

    /// <inheritdoc/>
    public void Table(IReadOnlyList<string> columns, IEnumerable<IReadOnlyList<string>> rows, int? numbersFrom = null)
    {
        ArgumentNullException.ThrowIfNull(columns);
        ArgumentNullException.ThrowIfNull(rows);
        page.Append('\n');
        Row(columns.Select(Escape));
        Row(columns.Select((_, i) => i >= numbersFrom ? "---:" : "---"));
        foreach (IReadOnlyList<string> row in rows)
        {
            Row(row.Select(Escape));
        }

        void Row(IEnumerable<string> cells) => page.Append("| ").AppendJoin(" | ", cells).Append(" |\n");
    }

    /// <inheritdoc/>
    public void Chart(LineChart chart)
    {
        ArgumentNullException.ThrowIfNull(chart);
        (IReadOnlyList<string> columns, IEnumerable<IReadOnlyList<string>> rows) = chart.Figures();
        Table(columns, rows, numbersFrom: 0);
    }

    /// <summary>The whole page.</summary>
    public override string ToString() => page.ToString();

    /// <summary>Text that shows as it is: an underscore within a word marks nothing, so names stay readable.</summary>
    private static string Escape(string text)
    {
        const string Marks = "\\`*_[]|~#$";
        var escaped = new StringBuilder();
        text = text.ReplaceLineEndings("\n");
        for (int i = 0; i < text.Length; i++)
        {
            bool inWord = text[i] is '_' or '#' && i > 0 && i + 1 < text.Length && char.IsLetterOrDigit(text[i - 1]) && char.IsLetterOrDigit(text[i + 1]);
            _ = text[i] switch
            {
                '\n' => escaped.Append("<br>"),
                '<' or '>' or '&' => escaped.Append(WebUtility.HtmlEncode(text[i].ToString())),
                var mark when Marks.Contains(mark, StringComparison.Ordinal) && !inWord => escaped.Append('\\').Append(mark),
                var control when char.IsControl(control) && control != '\t' => escaped.Append('\uFFFD'),
                var other => escaped.Append(other),
            };
        }

        return escaped.ToString();
    }
}
