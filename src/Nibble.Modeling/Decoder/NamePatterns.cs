using System.IO.Enumeration;
using System.Text.RegularExpressions;

namespace Nibble.Modeling.Decoder;

/// <summary>Patterns over the names of modules and parameters, in which <c>*</c> stands for any text and <c>?</c> for one character.</summary>
public static partial class NamePatterns
{
    /// <summary>Whether a pattern is of the whole name.</summary>
    public static bool Matches(string pattern, string name) => FileSystemName.MatchesSimpleExpression(pattern, name, ignoreCase: false);

    /// <summary>Refuses patterns that no name has.</summary>
    /// <param name="key">The setting that holds them.</param>
    /// <param name="patterns">The patterns.</param>
    /// <param name="names">The names.</param>
    /// <exception cref="ArgumentException">One matches nothing; the message says which names there are, those of all layers as one.</exception>
    public static void Require(string key, IEnumerable<string> patterns, IReadOnlyCollection<string> names)
    {
        if (patterns.FirstOrDefault(pattern => !names.Any(name => Matches(pattern, name))) is { } unknown)
        {
            IEnumerable<string> known = names.Select(name => LayerNumber().Replace(name, ".N.")).Distinct();
            throw new ArgumentException($"{key} has '{unknown}', which matches nothing; there are {string.Join(", ", known)}.");
        }
    }

    [GeneratedRegex(@"\.\d+\.")]
    private static partial Regex LayerNumber();
}
