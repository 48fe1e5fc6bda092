using System.Globalization;

namespace Nibble.Data.Pages;

/// <summary>How a curve is drawn.</summary>
public enum CurveStyle
{
    /// <summary>A line.</summary>
    Line,

    /// <summary>A pale, thin line, for raw values behind their trend; tables leave it out.</summary>
    Faint,

    /// <summary>A broken line with a dot at each point.</summary>
    Marked,
}

/// <summary>A curve.</summary>
/// <param name="Name">For the legend.</param>
/// <param name="Color">Curves of one number have one colour; there are six.</param>
/// <param name="Style">How it is drawn.</param>
/// <param name="Points">By rising x; those that are not finite are left out.</param>
public sealed record Curve(string Name, int Color, CurveStyle Style, IReadOnlyList<(double X, double Y)> Points);

/// <summary>Curves over common axes.</summary>
/// <param name="Title">For those who cannot see it.</param>
/// <param name="XLabel">What x is.</param>
/// <param name="YLabel">What y is.</param>
public sealed record LineChart(string Title, string XLabel, string YLabel)
{
    private const int Width = 720;
    private const int Height = 320;
    private const int Left = 56;
    private const int Bottom = 40;
    private const int Margin = 8;
    private const int Colors = 6;

    private readonly IReadOnlyList<Curve> curves = [];

    /// <summary>The curves.</summary>
    public required IReadOnlyList<Curve> Curves
    {
        get => curves;
        init => curves = [.. value.Select(curve => curve with { Points = [.. curve.Points.Where(point => double.IsFinite(point.X) && double.IsFinite(point.Y))] })
            .Where(curve => curve.Points.Count > 0)];
    }

    /// <summary>The curves' values at about a dozen places, each the last at or before the place.</summary>
    internal (IReadOnlyList<string> Columns, IEnumerable<IReadOnlyList<string>> Rows) Figures()
    {
        const int Places = 12;
        Curve[] shown = [.. Curves.Where(curve => curve.Style != CurveStyle.Faint)];
        double[] all = [.. shown.SelectMany(curve => curve.Points).Select(point => point.X).Distinct().Order()];
        double[] places = all.Length <= Places ? all : [.. Enumerable.Range(0, Places).Select(i => all[(int)((long)i * (all.Length - 1) / (Places - 1))])];
        return ([XLabel, .. shown.Select(curve => curve.Name)], places.Select(x => (IReadOnlyList<string>)[Text(x), .. shown.Select(curve => At(curve, x))]));

        static string At(Curve curve, double x) => curve.Points.TakeWhile(point => point.X <= x).Select(point => Text(point.Y)).LastOrDefault("");
    }

    /// <summary>The curves as an inline SVG, with their legend below.</summary>
    internal void Draw(HtmlPage page)
    {
        if (Curves.Count == 0)
        {
            return;
        }

        (double left, double right, double[] xTicks) = Axis(Curves.SelectMany(curve => curve.Points).Select(point => point.X), wholeTicks: false);
        (double low, double high, double[] yTicks) = Axis(Curves.SelectMany(curve => curve.Points).Select(point => point.Y), wholeTicks: true);
        double X(double x) => Left + ((x - left) / (right - left) * (Width - Left - Margin));
        double Y(double y) => Margin + ((high - y) / (high - low) * (Height - Bottom - Margin));

        page.Add($"<svg width=\"{Width}\" height=\"{Height}\" viewBox=\"0 0 {Width} {Height}\" role=\"img\" aria-label=\"{Title}\">\n");
        foreach (double tick in yTicks)
        {
            page.Add($"<line class=\"grid\" x1=\"{Left}\" x2=\"{Width - Margin}\" y1=\"{Y(tick):0.#}\" y2=\"{Y(tick):0.#}\"/><text x=\"{Left - 6}\" y=\"{Y(tick) + 4:0.#}\" text-anchor=\"end\">{Text(tick)}</text>\n");
        }

        foreach (double tick in xTicks)
        {
            page.Add($"<line class=\"grid\" x1=\"{X(tick):0.#}\" x2=\"{X(tick):0.#}\" y1=\"{Margin}\" y2=\"{Height - Bottom}\"/><text x=\"{X(tick):0.#}\" y=\"{Height - Bottom + 15}\" text-anchor=\"middle\">{Text(tick)}</text>\n");
        }

        page.Add($"<text x=\"{(Width + Left) / 2}\" y=\"{Height - 6}\" text-anchor=\"middle\">{XLabel}</text><text x=\"12\" y=\"{(Height - Bottom) / 2}\" text-anchor=\"middle\" transform=\"rotate(-90 12 {(Height - Bottom) / 2})\">{YLabel}</text>\n");
        foreach (Curve curve in Curves)
        {
            (double X, double Y)[] points = [.. Thinned(curve.Points, X).Select(point => (X(point.X), Y(point.Y)))];
            string path = string.Join(' ', points.Select(point => string.Create(CultureInfo.InvariantCulture, $"{point.X:0.#},{point.Y:0.#}")));
            page.Add($"<polyline class=\"{Class(curve)}\" points=\"{path}\"><title>{curve.Name}</title></polyline>\n");
            foreach ((double x, double y) in curve.Style == CurveStyle.Marked ? points : [])
            {
                page.Add($"<circle class=\"{Class(curve)}\" cx=\"{x:0.#}\" cy=\"{y:0.#}\" r=\"3\"/>");
            }
        }

        page.Add($"</svg>\n<p>");
        foreach (Curve curve in Curves)
        {
            page.Add($"<span class=\"key\"><svg width=\"28\" height=\"8\"><polyline class=\"{Class(curve)}\" points=\"0,4 28,4\"/></svg>{curve.Name}</span> ");
        }

        page.Add($"</p>\n");
    }

    private static string Class(Curve curve) => $"c{curve.Color % Colors} {curve.Style.ToString().ToLowerInvariant()}";

    /// <summary>Of more points than pixels, the lowest and the highest of each column of pixels: peaks stay.</summary>
    private static IEnumerable<(double X, double Y)> Thinned(IReadOnlyList<(double X, double Y)> points, Func<double, double> x) => points.Count <= 2 * Width
        ? points
        : points.GroupBy(point => (int)x(point.X)).SelectMany(column => new[] { column.MinBy(point => point.Y), column.MaxBy(point => point.Y) }.OrderBy(point => point.X));

    /// <summary>A range that holds the values, and its ticks at 1, 2 or 5 times a power of ten.</summary>
    /// <param name="values">At least one.</param>
    /// <param name="wholeTicks">Whether the range ends at ticks.</param>
    private static (double Low, double High, double[] Ticks) Axis(IEnumerable<double> values, bool wholeTicks)
    {
        const int MostTicks = 7;
        (double low, double high) = values.Aggregate((double.PositiveInfinity, double.NegativeInfinity), (range, value) => (Math.Min(range.Item1, value), Math.Max(range.Item2, value)));
        if (high - low <= 1e-12 * Math.Max(Math.Abs(low), Math.Abs(high)))
        {
            double half = low == 0 ? 1 : Math.Abs(low) / 2;
            (low, high) = (low - half, high + half);
        }

        double rough = (high - low) / (MostTicks - 1);
        double power = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        double step = power * (rough / power) switch
        {
            <= 1 => 1,
            <= 2 => 2,
            <= 5 => 5,
            _ => 10,
        };
        (double first, double last) = wholeTicks ? (Math.Floor(low / step), Math.Ceiling(high / step)) : (Math.Ceiling(low / step), Math.Floor(high / step));
        double[] ticks = [.. Enumerable.Range(0, (int)(last - first) + 1).Select(i => (first + i) * step)];
        return wholeTicks ? (first * step, last * step, ticks) : (low, high, ticks);
    }

    private static string Text(double value) => value.ToString("0.####", CultureInfo.InvariantCulture) is "0" or "-0" && value != 0
        ? value.ToString("0.##e+0", CultureInfo.InvariantCulture)
        : value.ToString("0.####", CultureInfo.InvariantCulture);
}
