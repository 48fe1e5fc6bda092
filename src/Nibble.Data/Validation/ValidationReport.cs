using System.Text.Json.Nodes;
using Nibble.Data.Files;

namespace Nibble.Data.Validation;

/// <summary>What was found in a dataset.</summary>
/// <param name="Files">The training file, then those that evaluate.</param>
/// <param name="Records">Good records of all files.</param>
/// <param name="Counts">How many issues of each kind there are.</param>
/// <param name="Issues">The issues themselves, by place; of a very common kind only the first.</param>
/// <param name="Statistics">What the training file is made of.</param>
/// <param name="MaxLength">Tokens of an example at most, where a model is known.</param>
public sealed record ValidationReport(
    IReadOnlyList<string> Files,
    long Records,
    IReadOnlyDictionary<string, long> Counts,
    IReadOnlyList<ValidationIssue> Issues,
    DatasetStatistics Statistics,
    int? MaxLength)
{
    /// <summary>Issues that are errors.</summary>
    public long Errors => Counts.Where(item => IssueCodes.IsError(item.Key)).Sum(item => item.Value);

    /// <summary>Issues that are warnings.</summary>
    public long Warnings => Counts.Where(item => !IssueCodes.IsError(item.Key)).Sum(item => item.Value);

    /// <summary>The report as one JSON object.</summary>
    public string ToJson()
    {
        var issues = new JsonArray();
        foreach (ValidationIssue issue in Issues)
        {
            issues.Add(new JsonObject
            {
                ["code"] = issue.Code,
                ["severity"] = issue.Severity,
                ["file"] = issue.Place.File,
                ["line"] = issue.Place.Line,
                ["message"] = issue.Message,
                ["duplicate_of"] = issue.DuplicateOf is { } before ? new JsonObject { ["file"] = before.File, ["line"] = before.Line } : null,
            });
        }

        return new JsonObject
        {
            ["files"] = new JsonArray([.. Files.Select(file => (JsonNode)file)]),
            ["records"] = Records,
            ["errors"] = Errors,
            ["warnings"] = Warnings,
            ["counts"] = StatisticsJson.Counts(Counts),
            ["max_length"] = MaxLength,
            ["statistics"] = StatisticsJson.Of(Statistics),
            ["issues"] = issues,
        }.ToJsonString(JsonText.Writing);
    }

    /// <summary>The report as one page that needs nothing else.</summary>
    public string ToHtml() => HtmlReport.Write(this);
}
