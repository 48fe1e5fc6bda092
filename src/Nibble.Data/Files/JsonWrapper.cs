using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Data.Files;

/// <summary>A file that is one JSON object: a record over several lines, or a wrapper with the records in its only list of objects.</summary>
internal static class JsonWrapper
{
    /// <summary>Wrappers are read whole, so no larger than this (bytes); larger files are JSON lines.</summary>
    private const long Largest = 256 << 20;

    /// <summary>The records; null where the file is one object a line.</summary>
    /// <param name="bytes">The file's size.</param>
    /// <param name="open">Opens the text from its beginning.</param>
    public static IEnumerable<SourceRow>? Read(long bytes, Func<TextReader> open)
    {
        if (bytes > Largest || !MayBeOneObject(open))
        {
            return null;
        }

        using TextReader text = open();
        if (!TryParse(text.ReadToEnd(), out JsonObject? whole))
        {
            return null;
        }

        JsonArray[] lists = RecordParser.IsRecord(whole) ? [] : [.. whole.Select(field => field.Value).OfType<JsonArray>().Where(list => list.Count > 0 && list.All(item => item is JsonObject))];
        return lists is [JsonArray records]
            ? records.Select((record, i) => SourceRow.Of(i + 1, record))
            : [SourceRow.Of(1, whole)];
    }

    /// <summary>Whether the first line is no object of its own, or the only one.</summary>
    private static bool MayBeOneObject(Func<TextReader> open)
    {
        using TextReader text = open();
        string? first = text.ReadLine();
        while (first is not null && string.IsNullOrWhiteSpace(first))
        {
            first = text.ReadLine();
        }

        if (first is null || !TryParse(first, out _))
        {
            return first is not null;
        }

        while (text.ReadLine() is { } next)
        {
            if (!string.IsNullOrWhiteSpace(next))
            {
                return false;
            }
        }

        return true;
    }

    private static bool TryParse(string text, [System.Diagnostics.CodeAnalysis.NotNullWhen(true)] out JsonObject? parsed)
    {
        try
        {
            parsed = JsonText.Parse(text) as JsonObject;
        }
        catch (JsonException)
        {
            parsed = null;
        }

        return parsed is not null;
    }
}
