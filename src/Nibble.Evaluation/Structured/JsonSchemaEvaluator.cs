using System.Text.Json;
using System.Text.RegularExpressions;
using Nibble.Data.Files;

namespace Nibble.Evaluation.Structured;

/// <summary>The share of predictions that are JSON, bare or in the one fenced block that they have, and satisfy a schema.</summary>
/// <remarks>
/// Reads the prediction. Details: parse_rate, valid_rate, how many were fenced, and the ten most frequent violations with the number of
/// predictions that have them, such as <c>violation: property_required #/name</c>.
/// </remarks>
/// <param name="schemaPath">The schema's file.</param>
public sealed partial class JsonSchemaEvaluator(string schemaPath) : IEvaluator
{
    private const int MostFrequent = 10;

    /// <inheritdoc/>
    public string Metric => "json_schema";

    /// <inheritdoc/>
    /// <exception cref="InvalidDataException">The schema cannot be checked, or an example has no prediction.</exception>
    /// <exception cref="FileNotFoundException">There is no such schema.</exception>
    public async Task<EvaluationResult> EvaluateAsync(IReadOnlyList<EvaluationExample> examples, CancellationToken cancellation = default)
    {
        AnswerSchema schema = await AnswerSchema.LoadAsync(schemaPath, cancellation).ConfigureAwait(false);
        string[] predictions = [.. Answered.Predictions(examples, cancellation)];
        string?[] documents = [.. predictions.Select(Document)];
        string[]?[] violations = [.. documents.Select(document => document is null ? null : schema.Violations(document).ToArray())];
        double?[] values = [.. violations.Select(found => (double?)(found is [] ? 1 : 0))];
        var details = new Dictionary<string, double>
        {
            ["parse_rate"] = documents.Average(document => document is null ? 0 : 1),
            ["valid_rate"] = values.Average()!.Value,
            ["fenced"] = predictions.Zip(documents).Count(pair => pair.Second is not null && Fence().IsMatch(pair.First)),
        };
        foreach ((string violation, int count) in violations.SelectMany(found => found ?? []).CountBy(violation => violation)
            .OrderByDescending(item => item.Value).ThenBy(item => item.Key, StringComparer.Ordinal).Take(MostFrequent))
        {
            details[$"violation: {violation}"] = count;
        }

        return MeanResult.Of(Metric, values, details);
    }

    /// <summary>The JSON in a prediction; null where there is none.</summary>
    private static string? Document(string prediction)
    {
        MatchCollection fences = Fence().Matches(prediction);
        string text = fences.Count == 1 ? fences[0].Groups["content"].Value : prediction;
        try
        {
            JsonText.Parse(text);
            return text;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    [GeneratedRegex(@"^[ \t]*```(json)?[ \t]*\r?\n(?<content>.*?)^[ \t]*```[ \t]*\r?$", RegexOptions.Multiline | RegexOptions.Singleline | RegexOptions.IgnoreCase | RegexOptions.ExplicitCapture)]
    private static partial Regex Fence();
}
