using System.Text.Json.Nodes;
using Nibble.Data.Files;

namespace Nibble.Evaluation.Predictions;

/// <summary>One row of a file of predictions or references.</summary>
/// <param name="Where">File and line, for messages.</param>
/// <param name="Fields">Its fields; of a plain text the line alone, by the name <see cref="Line"/>.</param>
internal sealed record AnswerRow(string Where, JsonObject Fields)
{
    /// <summary>What the line of a plain text is called.</summary>
    public const string Line = "";

    private static readonly string[] Structured = [".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet"];

    /// <summary>The rows of a file: objects of JSON, lines of CSV, TSV or Parquet, or else every line of a plain text.</summary>
    /// <exception cref="InvalidDataException">A row is malformed, or there is none.</exception>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    public static AnswerRow[] ReadAny(string path)
    {
        string name = path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? path[..^3] : path;
        AnswerRow[] rows = [.. Structured.Contains(Path.GetExtension(name), StringComparer.OrdinalIgnoreCase) ? Read(path) : Lines(path)];
        return rows.Length > 0 ? rows : throw new InvalidDataException($"{path} has no rows.");
    }

    /// <summary>The rows of a file of JSON, CSV, TSV or Parquet.</summary>
    /// <exception cref="InvalidDataException">A row is malformed.</exception>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    public static IEnumerable<AnswerRow> Read(string path) => DatasetFile.Rows(path).Select(row =>
        new AnswerRow($"{path}:{row.Line}", row.Fields ?? throw new InvalidDataException($"{path}:{row.Line}: {row.Problem}.")));

    private static IEnumerable<AnswerRow> Lines(string path) => path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase)
        ? throw new InvalidDataException($"{path} is a compressed file whose name does not say that it holds .jsonl, .json, .csv or .tsv.")
        : File.ReadLines(path).Select((line, i) => new AnswerRow($"{path}:{i + 1}", new JsonObject { [Line] = line }));

    /// <summary>Reads a part of the row; what is wrong with it comes with file and line.</summary>
    public T Get<T>(Func<JsonObject, T> read)
    {
        try
        {
            return read(Fields);
        }
        catch (FormatException exception)
        {
            throw new InvalidDataException($"{Where}: {exception.Message}.", exception);
        }
    }

    /// <summary>The first of some fields that the row has; null if it has none of them.</summary>
    public string? First(params IEnumerable<string> names) => names.FirstOrDefault(Fields.ContainsKey);
}
