using ScottPlot;

namespace Nibble.Training.Reporting;

/// <summary><c>loss.png</c>: the training loss with its trend, and the evaluation loss.</summary>
public static class LossPlot
{
    /// <summary>Draws the curves.</summary>
    public static void Save(string path, IReadOnlyList<(int Step, double Loss)> training, IReadOnlyList<EvalMetrics> evaluation)
    {
        ArgumentNullException.ThrowIfNull(training);
        ArgumentNullException.ThrowIfNull(evaluation);
        var plot = new Plot();
        double[] steps = [.. training.Select(point => (double)point.Step)];
        var raw = plot.Add.Scatter(steps, training.Select(point => point.Loss).ToArray());
        raw.MarkerSize = 0;
        raw.Color = Color.FromHex("#9ecae1");
        raw.LegendText = "training loss";
        var trend = plot.Add.Scatter(steps, Smoothed(training));
        trend.MarkerSize = 0;
        trend.LineWidth = 2;
        trend.Color = Color.FromHex("#2171b5");
        trend.LegendText = "smoothed";
        if (evaluation.Count > 0)
        {
            var points = plot.Add.Scatter(evaluation.Select(point => (double)point.Step).ToArray(), evaluation.Select(point => point.EvalLoss).ToArray());
            points.Color = Color.FromHex("#d94801");
            points.MarkerSize = 7;
            points.LineWidth = 1.5f;
            points.LegendText = "evaluation loss";
        }

        plot.XLabel("step");
        plot.YLabel("loss");
        plot.ShowLegend(Alignment.UpperRight);
        plot.SavePng(path, 1000, 600);
    }

    /// <summary>Exponential moving average over about a twentieth of the run, without bias towards its start.</summary>
    internal static double[] Smoothed(IReadOnlyList<(int Step, double Loss)> points)
    {
        double keep = 1 - (1 / Math.Max(2, points.Count / 20.0));
        (double sum, double weight) = (0, 0);
        return [.. points.Select(point =>
        {
            sum = (keep * sum) + point.Loss;
            weight = (keep * weight) + 1;
            return sum / weight;
        })];
    }
}
