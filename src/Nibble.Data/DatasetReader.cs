using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Data;

/// <summary>Reads datasets record by record: JSON lines, or one JSON array of objects.</summary>
public static class DatasetReader
{
    /// <summary>The records of a file.</summary>
    /// <param name="path">A .jsonl or .json file, UTF-8 with or without a byte order mark.</param>
    /// <param name="format">How to read them; <see cref="DatasetFormat.Auto"/> decides by the first.</param>
    /// <exception cref="InvalidDataException">A record is malformed; the message has file, line and reason.</exception>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    public static IEnumerable<DatasetRecord> Read(string path, DatasetFormat format = DatasetFormat.Auto) => ReadNumbered(path, format).Select(item => item.Record);

    /// <summary><see cref="Read"/>, each record with its line; in a JSON array that is its place, from 1.</summary>
    public static IEnumerable<(int Line, DatasetRecord Record)> ReadNumbered(string path, DatasetFormat format = DatasetFormat.Auto)
    {
        RequireFile(path);
        return Records(path, format);
    }

    /// <summary>The format of a file, by its first record.</summary>
    public static DatasetFormat Detect(string path)
    {
        RequireFile(path);
        foreach ((int line, JsonNode? node) in Nodes(path))
        {
            return Guarded(path, line, () => RecordParser.Detect(AsObject(node)));
        }

        throw new InvalidDataException($"{path} has no records.");
    }

    private static void RequireFile(string path)
    {
        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"{path} does not exist.", path);
        }
    }

    private static IEnumerable<(int Line, DatasetRecord Record)> Records(string path, DatasetFormat format)
    {
        if (format == DatasetFormat.Auto)
        {
            format = Detect(path);
        }

        bool any = false;
        foreach ((int line, JsonNode? node) in Nodes(path))
        {
            any = true;
            yield return (line, Guarded(path, line, () => RecordParser.Parse(AsObject(node), format)));
        }

        if (!any)
        {
            throw new InvalidDataException($"{path} has no records.");
        }
    }

    private static IEnumerable<(int Line, JsonNode? Node)> Nodes(string path) => BeginsArray(path) ? ArrayItems(path) : Lines(path);

    private static IEnumerable<(int Line, JsonNode? Node)> Lines(string path)
    {
        using var reader = new StreamReader(path);
        for (int line = 1; reader.ReadLine() is { } text; line++)
        {
            if (!string.IsNullOrWhiteSpace(text))
            {
                yield return (line, Guarded(path, line, () => JsonNode.Parse(text)));
            }
        }
    }

    /// <summary>Items of an array, one in memory at a time.</summary>
    private static IEnumerable<(int Line, JsonNode? Node)> ArrayItems(string path)
    {
        using FileStream stream = OpenPastMark(path);
        IEnumerator<JsonNode?> items = JsonSerializer.DeserializeAsyncEnumerable<JsonNode>(stream).ToBlockingEnumerable().GetEnumerator();
        for (int index = 1; Guarded(path, index, items.MoveNext); index++)
        {
            yield return (index, items.Current);
        }
    }

    private static FileStream OpenPastMark(string path)
    {
        FileStream stream = File.OpenRead(path);
        Span<byte> mark = stackalloc byte[3];
        if (stream.ReadAtLeast(mark, 3, throwOnEndOfStream: false) < 3 || !mark.SequenceEqual("\uFEFF"u8))
        {
            stream.Position = 0;
        }

        return stream;
    }

    private static bool BeginsArray(string path)
    {
        using var reader = new StreamReader(path);
        int next;
        while ((next = reader.Read()) >= 0 && char.IsWhiteSpace((char)next))
        {
        }

        return next == '[';
    }

    private static JsonObject AsObject(JsonNode? node) => node as JsonObject ?? throw new FormatException("is not a JSON object");

    private static T Guarded<T>(string path, int line, Func<T> body)
    {
        try
        {
            return body();
        }
        catch (FormatException exception)
        {
            throw new InvalidDataException($"{path}:{line}: {exception.Message}.", exception);
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{path}:{line}: is not valid JSON ({exception.Message.Split(" Path:")[0].Split(" LineNumber:")[0].TrimEnd('.')}).", exception);
        }
    }
}
