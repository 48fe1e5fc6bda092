using System.Globalization;
using System.Net;
using System.Text;

namespace Nibble.Data.Pages;

/// <summary>One HTML page that needs nothing else: no script, no file beside it; light or dark as its reader's system is.</summary>
public sealed class HtmlPage : IPage
{
    /// <summary>c0 to c5 colour curves: Okabe and Ito's colours, which the colour-blind tell apart, darkened or lightened for contrast.</summary>
    private const string Style =
        ":root{color-scheme:light dark;--text:#222;--soft:#595959;--rule:#999;--grid:#e4e4e4;--back:#fff;--error:#b00020;--warning:#8a5a00;--bar:#4a7ab5;"
        + "--c0:#0072b2;--c1:#c65000;--c2:#00805c;--c3:#a8427f;--c4:#8a6a00;--c5:#2b7fa8}"
        + "@media(prefers-color-scheme:dark){:root{--text:#ddd;--soft:#aaa;--rule:#777;--grid:#333;--back:#181818;--error:#ff6b81;--warning:#e0a840;--bar:#6f9fd8;"
        + "--c0:#56b4e9;--c1:#ff8c42;--c2:#2fc79a;--c3:#e08fc0;--c4:#e0c040;--c5:#8fd0f0}}"
        + "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:var(--text);background:var(--back)}"
        + "table{border-collapse:collapse;margin:.5rem 0 1.5rem}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}"
        + "td{white-space:pre-wrap;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}td:first-child{min-width:6rem}p{white-space:pre-line}"
        + "th{border-bottom:1px solid var(--rule)}.n{text-align:right}.error{color:var(--error)}.warning{color:var(--warning)}"
        + "svg{display:block;margin:.3rem 0 1.5rem;max-width:100%;height:auto}svg rect{fill:var(--bar)}svg text{font:11px system-ui,sans-serif;fill:var(--soft)}"
        + "svg line{stroke:var(--error)}svg .grid{stroke:var(--grid)}svg polyline{fill:none;stroke-width:2}svg .faint{stroke-width:1;opacity:.4}svg polyline.marked{stroke-dasharray:5 3}svg circle{fill:var(--back);stroke-width:2}"
        + ".c0{stroke:var(--c0)}.c1{stroke:var(--c1)}.c2{stroke:var(--c2)}.c3{stroke:var(--c3)}.c4{stroke:var(--c4)}.c5{stroke:var(--c5)}"
        + ".key{display:inline-block;margin-right:1.2rem}.key svg{display:inline-block;margin:0 .4rem 0 0;vertical-align:middle}";

    private readonly StringBuilder page = new();

    /// <summary>Begins a page.</summary>
    /// <param name="title">What the browser's window is called.</param>
    /// <param name="heading">What stands at its top; null for the title.</param>
    public HtmlPage(string title, string? heading = null)
    {
        Add($"<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>");
        page.Append(Style);
        Add($"</style></head><body>\n<h1>{heading ?? title}</h1>\n");
    }

    /// <summary>Adds markup; what stands in its holes is text, which is escaped, and numbers are written alike in all languages.</summary>
    public void Add(FormattableString markup)
    {
        ArgumentNullException.ThrowIfNull(markup);
        page.Append(markup.ToString(Escaping.Instance));
    }

    /// <inheritdoc/>
    public void Heading(string text) => Add($"<h2>{text}</h2>\n");

    /// <inheritdoc/>
    public void Paragraph(string text) => Add($"<p>{text}</p>\n");

    /// <inheritdoc/>
    public void Table(IReadOnlyList<string> columns, IEnumerable<IReadOnlyList<string>> rows, int? numbersFrom = null)
    {
        ArgumentNullException.ThrowIfNull(rows);
        page.Append("<table>");
        Row(columns, "th");
        foreach (IReadOnlyList<string> row in rows)
        {
            Row(row, "td");
        }

        page.Append("</table>\n");

        void Row(IReadOnlyList<string> cells, string tag)
        {
            page.Append("<tr>");
            for (int i = 0; i < cells.Count; i++)
            {
                page.Append('<').Append(tag).Append(i >= numbersFrom ? " class=\"n\">" : ">");
                Add($"{cells[i]}</");
                page.Append(tag).Append('>');
            }

            page.Append("</tr>\n");
        }
    }

    /// <inheritdoc/>
    public void Chart(LineChart chart)
    {
        ArgumentNullException.ThrowIfNull(chart);
        chart.Draw(this);
    }

    /// <summary>The whole page.</summary>
    public override string ToString() => $"{page}</body></html>\n";

    private sealed class Escaping : IFormatProvider, ICustomFormatter
    {
        public static readonly Escaping Instance = new();

        public object? GetFormat(Type? formatType) => formatType == typeof(ICustomFormatter) ? this : null;

        public string Format(string? format, object? arg, IFormatProvider? formatProvider)
        {
            string text = arg is IFormattable value ? value.ToString(format, CultureInfo.InvariantCulture) : arg?.ToString() ?? "";
            return WebUtility.HtmlEncode(string.Concat(text.Select(character => char.IsControl(character) && character is not ('\n' or '\t') ? '\uFFFD' : character)));
        }
    }
}
