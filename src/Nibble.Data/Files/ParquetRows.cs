using System.Collections;
using System.Text;
using System.Text.Json.Nodes;
using Parquet;
using Parquet.Serialization;

namespace Nibble.Data.Files;

/// <summary>The rows of a Parquet file, one row group in memory at a time; lists and structs become arrays and objects.</summary>
internal static class ParquetRows
{
    /// <exception cref="InvalidDataException">The file is damaged.</exception>
    public static IEnumerable<SourceRow> Read(string path)
    {
        using FileStream stream = File.OpenRead(path);
        int groups = Wait(GroupsAsync(stream));
        int place = 0;
        for (int group = 0; group < groups; group++)
        {
            foreach (Dictionary<string, object?> row in Wait(RowsAsync(stream, group)))
            {
                yield return new SourceRow(++place, Fields(row));
            }
        }
    }

    private static async Task<int> GroupsAsync(Stream stream)
    {
        await using ParquetReader reader = await ParquetReader.CreateAsync(stream, leaveStreamOpen: true).ConfigureAwait(false);
        return reader.RowGroupCount;
    }

    private static async Task<IEnumerable<Dictionary<string, object?>>> RowsAsync(Stream stream, int group) =>
        (IEnumerable<Dictionary<string, object?>>)(await ParquetSerializer.DeserializeUntypedAsync(stream, rowGroupIndex: group).ConfigureAwait(false)).Data;

    private static T Wait<T>(Task<T> task)
    {
        try
        {
            return task.GetAwaiter().GetResult();
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            // The package throws whatever its decoders meet in damaged bytes.
            throw new InvalidDataException($"is not a Parquet file that can be read ({exception.Message.TrimEnd('.')})", exception);
        }
    }

    private static JsonObject Fields(IEnumerable<KeyValuePair<string, object?>> row) =>
        new(row.Select(field => KeyValuePair.Create(field.Key, Node(field.Value))));

    private static JsonNode? Node(object? value) => value switch
    {
        null => null,
        string text => text,
        byte[] bytes => Encoding.UTF8.GetString(bytes),
        bool flag => flag,
        int number => number,
        long number => number,
        float number => number,
        double number => number,
        IEnumerable<KeyValuePair<string, object?>> fields => Fields(fields),
        IEnumerable items => new JsonArray([.. items.Cast<object?>().Select(Node)]),
        IFormattable other => other.ToString(null, System.Globalization.CultureInfo.InvariantCulture),
        _ => value.ToString(),
    };
}
