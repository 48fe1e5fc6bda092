using System.Globalization;
using Nibble.Training.Configuration;

namespace Nibble.Training.Reporting;

/// <summary>Whether two runs came to the same to the bit, and if not, where they differ.</summary>
/// <param name="Losses">How many training losses and evaluations were compared.</param>
/// <param name="Differences">Between what they came to, a line each; empty when they are identical.</param>
/// <param name="Causes">Between what they ran on, a line each.</param>
public sealed record RunComparison(int Losses, IReadOnlyList<string> Differences, IReadOnlyList<string> Causes)
{
    /// <summary>Whether losses, evaluations and weights are the same to the bit.</summary>
    public bool IsIdentical => Differences.Count == 0;

    /// <summary>Compares two finished runs.</summary>
    /// <exception cref="InvalidDataException">One of them has not come to its end.</exception>
    public static RunComparison Of(RunRecord first, RunRecord second)
    {
        ArgumentNullException.ThrowIfNull(first);
        ArgumentNullException.ThrowIfNull(second);
        foreach (RunRecord run in new[] { first, second })
        {
            _ = run.Manifest.IsComplete ? run : throw new InvalidDataException($"{run.Folder}: the run has not come to its end, so there is nothing to compare.");
        }

        Dictionary<string, Dictionary<int, double>> before = SeriesOf(first);
        Dictionary<string, Dictionary<int, double>> after = SeriesOf(second);
        IEnumerable<string> differences = before.Keys.Union(after.Keys).Select(name => Difference(name, before.GetValueOrDefault(name, []), after.GetValueOrDefault(name, [])))
            .Append(DifferenceOfWeights(first, second)).OfType<string>();
        return new RunComparison(before.Values.Sum(series => series.Count), [.. differences], [.. Causes(first.Manifest.Environment!, second.Manifest.Environment!)]);

        static IEnumerable<string> Causes(RunEnvironment was, RunEnvironment isNow) => typeof(RunEnvironment).GetProperties()
            .Select(fact => (fact.Name, Was: fact.GetValue(was), Now: fact.GetValue(isNow))).Where(fact => !Equals(fact.Was, fact.Now))
            .Select(fact => $"{ConfigBinder.KeyOf(fact.Name)} was {fact.Was} and is {fact.Now}");
    }

    /// <inheritdoc/>
    public override string ToString() => IsIdentical
        ? $"Identical to the bit: {Losses} losses and scores, and the weights."
        : string.Join(Environment.NewLine, [.. Differences, .. Causes.Count == 0 ? ["Versions, device, instruction set and threads are the same."] : Causes]);

    /// <summary>Values by step, of all that was logged.</summary>
    private static Dictionary<string, Dictionary<int, double>> SeriesOf(RunRecord run)
    {
        var series = new Dictionary<string, Dictionary<int, double>>
        {
            ["training loss"] = run.Steps.ToDictionary(step => step.Step, step => step.Loss),
            ["evaluation loss"] = run.Evaluations.ToDictionary(evaluation => evaluation.Step, evaluation => evaluation.EvalLoss),
        };
        foreach (string metric in run.Evaluations.SelectMany(evaluation => evaluation.Scores?.Keys ?? []).Distinct())
        {
            series[metric] = run.Evaluations.Where(evaluation => evaluation.Scores?.ContainsKey(metric) == true)
                .ToDictionary(evaluation => evaluation.Step, evaluation => evaluation.Scores![metric]);
        }

        return series;
    }

    private static string? Difference(string name, Dictionary<int, double> before, Dictionary<int, double> after)
    {
        int alone = before.Keys.Except(after.Keys).Count() + after.Keys.Except(before.Keys).Count();
        int[] common = [.. before.Keys.Intersect(after.Keys).Order()];
        int[] differing = [.. common.Where(step => !before[step].Equals(after[step]))];
        if (alone + differing.Length == 0)
        {
            return null;
        }

        string lacking = alone > 0 ? $"; {alone} logged by one run alone" : "";
        if (differing.Length == 0)
        {
            return $"{name}: equal where both logged it{lacking}";
        }

        int most = differing.MaxBy(step => Math.Abs(after[step] - before[step]));
        return string.Create(
            CultureInfo.InvariantCulture,
            $"{name}: {differing.Length} of {common.Length} differ, first at step {differing[0]} ({before[differing[0]]:R} and {after[differing[0]]:R}), most at step {most} (by {Math.Abs(after[most] - before[most]):0.##e+0}){lacking}");
    }

    private static string? DifferenceOfWeights(RunRecord first, RunRecord second)
    {
        (RunHashes before, RunHashes after) = (first.Manifest.Hashes!, second.Manifest.Hashes!);
        return before.Adapter == after.Adapter ? null : $"weights: SHA-256 {before.Adapter} and {after.Adapter}";
    }
}
