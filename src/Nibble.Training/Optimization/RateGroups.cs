using System.Globalization;
using Nibble.Modeling.Decoder;

namespace Nibble.Training.Optimization;

/// <summary>Factors on the learning rate by the parameters' names: <c>pattern=factor</c>, of which the first that matches holds.</summary>
internal sealed class RateGroups
{
    private readonly List<(string Pattern, double Factor)> groups;

    /// <exception cref="ArgumentException">A group is not of that form.</exception>
    public RateGroups(IEnumerable<string> texts) => groups = [.. texts.Select(Parse)];

    /// <exception cref="ArgumentException">A pattern matches none of the run's parameters.</exception>
    public void Require(IEnumerable<Parameter> parameters) =>
        NamePatterns.Require("training.lr_groups", groups.Select(group => group.Pattern), [.. parameters.Select(parameter => parameter.Name)]);

    /// <summary>The factor of each parameter, 1 for those of no group.</summary>
    public IReadOnlyList<double> Of(IEnumerable<Parameter> parameters) =>
        [.. parameters.Select(parameter => groups.FirstOrDefault(group => NamePatterns.Matches(group.Pattern, parameter.Name), (Pattern: "", Factor: 1)).Factor)];

    private static (string Pattern, double Factor) Parse(string text)
    {
        string[] parts = text.Split('=');
        return parts.Length == 2 && double.TryParse(parts[1], NumberStyles.Float, CultureInfo.InvariantCulture, out double factor) && double.IsFinite(factor) && factor >= 0
            ? (parts[0].Trim(), factor)
            : throw new ArgumentException($"training.lr_groups has '{text}'; it must be pattern=factor, such as model.layers.0.*=0.5, with a factor of zero or more.");
    }
}
