using System.Text.Json.Nodes;

namespace Nibble.Data.Validation;

/// <summary><see cref="DatasetStatistics"/> as JSON.</summary>
public static class StatisticsJson
{
    /// <summary>All counts, and the quantiles of all lengths.</summary>
    public static JsonObject Of(DatasetStatistics statistics)
    {
        ArgumentNullException.ThrowIfNull(statistics);
        return new JsonObject
        {
            ["records"] = statistics.Records,
            ["forms"] = Counts(statistics.Forms),
            ["empty_inputs"] = statistics.EmptyInputs,
            ["turns"] = Counts(statistics.Turns),
            ["languages"] = Counts(statistics.Languages),
            ["labels"] = Counts(statistics.Labels),
            ["question_words"] = Lengths(statistics.QuestionWords),
            ["answer_words"] = Lengths(statistics.AnswerWords),
            ["tokens"] = statistics.Tokens.Count > 0 ? Lengths(statistics.Tokens) : null,
        };
    }

    internal static JsonObject Counts(IReadOnlyDictionary<string, long> counts) =>
        new(counts.Select(item => KeyValuePair.Create(item.Key, (JsonNode?)item.Value)));

    private static JsonObject Lengths(LengthDistribution lengths) => new()
    {
        ["min"] = lengths.Min,
        ["mean"] = Math.Round(lengths.Mean, 3),
        ["p50"] = lengths.Quantile(0.5),
        ["p95"] = lengths.Quantile(0.95),
        ["p99"] = lengths.Quantile(0.99),
        ["max"] = lengths.Max,
    };
}
