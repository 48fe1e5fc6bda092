using ScottPlot;

namespace Nibble.Bench.Reports;

/// <summary>Horizontal bars of shares, with a line where the machine ends.</summary>
internal static class ShareChart
{
    private const int RowHeight = 22;

    public static void Save(string path, string title, IReadOnlyList<(string Label, double Share)> rows)
    {
        var plot = new Plot();
        double[] positions = [.. Enumerable.Range(0, rows.Count).Select(i => (double)(rows.Count - i))];
        var bars = plot.Add.Bars(positions, [.. rows.Select(row => 100 * row.Share)]);
        bars.Horizontal = true;
        bars.Color = Color.FromHex("#2171b5");
        plot.Add.VerticalLine(100, width: 1, color: Color.FromHex("#d94801"));
        plot.Axes.Left.SetTicks(positions, [.. rows.Select(row => row.Label)]);
        plot.Axes.Margins(left: 0);
        plot.XLabel("%");
        plot.Title(title);
        plot.SavePng(path, 1000, 120 + (RowHeight * rows.Count));
    }
}
