using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Data.Files;
using Nibble.Data.Validation;

namespace Nibble.Data;

/// <summary>
/// Reads datasets record by record, in constant memory: JSON lines, a JSON array of objects, CSV or TSV with a header, each also
/// gzipped, and Parquet. Text is UTF-8, with or without a byte order mark; blank lines are passed over.
/// </summary>
public static class DatasetReader
{
    /// <summary>The records of a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="format">How to read them; <see cref="DatasetFormat.Auto"/> decides by the first.</param>
    /// <exception cref="InvalidDataException">A record is malformed; the message has file, line and reason.</exception>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    public static IEnumerable<DatasetRecord> Read(string path, DatasetFormat format = DatasetFormat.Auto) => ReadNumbered(path, format).Select(item => item.Record);

    /// <summary><see cref="Read"/>, each record with its line; in a JSON array that is its place, from 1.</summary>
    public static IEnumerable<(int Line, DatasetRecord Record)> ReadNumbered(string path, DatasetFormat format = DatasetFormat.Auto) =>
        ReadLines(path, new DatasetReadOptions { Format = format }).Select(line => (line.Line, line.Record));

    /// <summary><see cref="Read"/> with columns mapped, bad lines skipped if so wished, and all fields of each line.</summary>
    public static IEnumerable<DatasetLine> ReadLines(string path, DatasetReadOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return Records(path, DatasetFile.Rows(path), options);
    }

    /// <summary>The format that was named, or where that is <see cref="DatasetFormat.Auto"/> the file's, by its first record.</summary>
    public static DatasetFormat FormOf(string path, DatasetFormat named) => named == DatasetFormat.Auto ? Detect(path) : named;

    /// <summary>The format of a file, by its first record.</summary>
    public static DatasetFormat Detect(string path)
    {
        foreach (SourceRow row in DatasetFile.Rows(path))
        {
            try
            {
                return RecordParser.Detect(row.Fields ?? throw new FormatException(row.Problem));
            }
            catch (FormatException exception)
            {
                throw new InvalidDataException(new BadLine(path, row.Line, IssueCodes.InvalidRecord, exception.Message).ToString(), exception);
            }
        }

        throw new InvalidDataException($"{path} has no records.");
    }

    private static IEnumerable<DatasetLine> Records(string path, IEnumerable<SourceRow> rows, DatasetReadOptions options)
    {
        DatasetFormat format = options.Format;
        long rowsRead = 0;
        foreach (SourceRow row in rows)
        {
            rowsRead++;
            options.Progress?.Invoke(rowsRead);
            (DatasetRecord? record, BadLine? bad) = Parse(path, row, options.Map, ref format);
            if (record is not null)
            {
                yield return new DatasetLine(row.Line, record, row.Fields!);
            }
            else if (options.OnBadLine is { } tell)
            {
                tell(bad!);
            }
            else
            {
                throw new InvalidDataException(bad!.ToString());
            }
        }

        if (rowsRead == 0)
        {
            throw new InvalidDataException($"{path} has no records.");
        }
    }

    private static (DatasetRecord? Record, BadLine? Bad) Parse(string path, SourceRow row, IReadOnlyDictionary<string, string> map, ref DatasetFormat format)
    {
        try
        {
            JsonObject fields = row.Fields ?? throw new FormatException(row.Problem);
            ColumnMap.Apply(map, fields);
            if (format == DatasetFormat.Auto)
            {
                format = RecordParser.Detect(fields);
            }

            DatasetRecord record = RecordParser.Parse(fields, format);
            return record is ChatExample { HasAssistantTurn: false }
                ? (null, new BadLine(path, row.Line, IssueCodes.MissingAssistantTurn, "has no assistant turn: there is nothing to learn"))
                : (record, null);
        }
        catch (Exception exception) when (exception is FormatException or JsonException or InvalidOperationException)
        {
            // The last is how JSON refuses half of a surrogate pair, which it only meets when a text is asked for.
            return (null, new BadLine(path, row.Line, IssueCodes.InvalidRecord, exception.Message.TrimEnd('.')));
        }
    }
}
