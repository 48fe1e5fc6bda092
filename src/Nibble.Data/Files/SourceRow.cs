using System.Text.Json.Nodes;

namespace Nibble.Data.Files;

/// <summary>One row of a file: its fields, or why it has none.</summary>
/// <param name="Line">The line where it begins; in arrays and tables of columns its place, from 1.</param>
/// <param name="Fields">Names and values; null where the row is bad.</param>
/// <param name="Problem">What is wrong with it; null where nothing is.</param>
public readonly record struct SourceRow(int Line, JsonObject? Fields, string? Problem = null)
{
    internal static SourceRow Of(int line, JsonNode? node) =>
        node is JsonObject fields ? new SourceRow(line, fields) : new SourceRow(line, null, "is not a JSON object");
}
