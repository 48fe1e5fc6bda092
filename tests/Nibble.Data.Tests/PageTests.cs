using System.Globalization;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Nibble.Data.Pages;

namespace Nibble.Data.Tests;

public class PageTests
{
    private const string Hostile = "<script>alert('x')</script> & \"a\" | b\n# *c* [d](http://e) `f` \\ \u001b[31m a_key";

    [Fact]
    public void A_page_shows_hostile_text_as_text_wherever_it_stands()
    {
        var page = new HtmlPage(Hostile);
        Fill(page);
        XElement html = XElement.Parse(page.ToString().Replace("<!DOCTYPE html>", "", StringComparison.Ordinal)
            .Replace("<meta charset=\"utf-8\">", "", StringComparison.Ordinal).Replace("<meta name=\"viewport\" content=\"width=device-width\">", "", StringComparison.Ordinal));
        string shown = Hostile.Replace('\u001b', '\uFFFD');
        foreach (string tag in new[] { "title", "h1", "h2", "p", "th", "td" })
        {
            Assert.Contains(html.Descendants(tag), element => element.Value == shown);
        }

        XElement svg = html.Descendants("svg").First();
        Assert.Equal(shown.Replace('\n', ' '), (string)svg.Attribute("aria-label")!); // XML's rule for attributes.
        Assert.Equal(2, svg.Elements("text").Count(text => text.Value == shown));
        Assert.DoesNotContain(html.Descendants(), element => element.Name == "script" || element.Name == "link" || element.Name == "a" || element.Name == "img");
    }

    [Fact]
    public void Markdown_shows_hostile_text_as_text_and_keeps_names_readable()
    {
        var page = new MarkdownPage("a_key");
        Fill(page);
        string[] lines = page.ToString().Split('\n');
        Assert.Equal("# a_key", lines[0]);
        string cell = "&lt;script&gt;alert('x')&lt;/script&gt; &amp; \"a\" \\| b<br>\\# \\*c\\* \\[d\\](http://e) \\`f\\` \\\\ \uFFFD\\[31m a_key";
        Assert.Contains($"| {cell} | 1 |", lines);
        Assert.Contains("| --- | ---: |", lines);
    }

    [Fact]
    public void A_curve_passes_through_its_points_and_lies_within_its_ticks()
    {
        var page = new HtmlPage("t");
        page.Chart(new LineChart("t", "step", "loss") { Curves = [new Curve("a", 0, CurveStyle.Marked, [(0, 0.13), (50, double.NaN), (100, 0.87), (200, 0.31)])] });
        XElement svg = XElement.Parse(Regex.Match(page.ToString(), "<svg.*?</svg>", RegexOptions.Singleline).Value);
        double[][] circles = [.. svg.Elements("circle").Select(circle => new[] { Number(circle, "cx"), Number(circle, "cy") })];
        Assert.Equal(3, circles.Length);
        Assert.Equal(string.Join(' ', circles.Select(point => FormattableString.Invariant($"{point[0]},{point[1]}"))), (string)svg.Element("polyline")!.Attribute("points")!);

        // The axes' own figures say where the points are.
        (double Value, double At)[] y = [.. svg.Elements("text").Where(text => (string?)text.Attribute("text-anchor") == "end").Select(text => (double.Parse(text.Value, CultureInfo.InvariantCulture), Number(text, "y") - 4))];
        Assert.All(circles.Zip([0.13, 0.87, 0.31]), pair => Assert.Equal(pair.Second, At(y, pair.First[1]), 1e-2));
        Assert.True(y.Min(tick => tick.Value) <= 0.13 && y.Max(tick => tick.Value) >= 0.87);
        (double Value, double At)[] x = [.. svg.Elements("text").Where(text => (string?)text.Attribute("text-anchor") == "middle" && double.TryParse(text.Value, out _)).Select(text => (double.Parse(text.Value, CultureInfo.InvariantCulture), Number(text, "x")))];
        Assert.All(circles.Zip([0.0, 100, 200]), pair => Assert.Equal(pair.Second, At(x, pair.First[0]), 1.0));

        static double At((double Value, double At)[] ticks, double pixel) =>
            ticks[0].Value + ((pixel - ticks[0].At) / (ticks[^1].At - ticks[0].At) * (ticks[^1].Value - ticks[0].Value));
        static double Number(XElement element, string name) => double.Parse((string)element.Attribute(name)!, CultureInfo.InvariantCulture);
    }

    [Fact]
    public void A_long_curve_is_thinned_and_keeps_its_peak()
    {
        (double, double)[] points = [.. Enumerable.Range(0, 200_000).Select(i => ((double)i, i == 77_777 ? 100.0 : Math.Sin(i)))];
        var page = new HtmlPage("t");
        page.Chart(new LineChart("t", "x", "y") { Curves = [new Curve("a", 0, CurveStyle.Line, points)] });
        string[] path = Regex.Match(page.ToString(), "points=\"([^\"]*)\"").Groups[1].Value.Split(' ');
        Assert.InRange(path.Length, 700, 1500);
        Assert.Equal(8.0, path.Min(point => double.Parse(point.Split(',')[1], CultureInfo.InvariantCulture)), 1.0);
    }

    [Fact]
    public void Curves_of_one_value_or_of_none_are_drawn_too()
    {
        var page = new HtmlPage("t");
        page.Chart(new LineChart("t", "x", "y") { Curves = [new Curve("one", 0, CurveStyle.Line, [(5, 0)])] });
        Assert.DoesNotContain("NaN", page.ToString(), StringComparison.Ordinal);
        page.Chart(new LineChart("t", "x", "y") { Curves = [new Curve("none", 0, CurveStyle.Line, [(1, double.NaN)])] });
        Assert.DoesNotContain("none<", page.ToString(), StringComparison.Ordinal);
    }

    private static void Fill(IPage page)
    {
        page.Heading(Hostile);
        page.Paragraph(Hostile);
        page.Table([Hostile, "n"], [[Hostile, "1"]], numbersFrom: 1);
        page.Chart(new LineChart(Hostile, Hostile, Hostile) { Curves = [new Curve(Hostile, 0, CurveStyle.Line, [(1, 2), (3, 4)])] });
    }
}
