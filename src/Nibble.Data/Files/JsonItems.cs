using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Data.Files;

/// <summary>The items of one JSON array, one in memory at a time.</summary>
internal static class JsonItems
{
    /// <exception cref="InvalidDataException">The array is not valid JSON: where the next item begins cannot be known then.</exception>
    public static IEnumerable<SourceRow> Read(Stream stream)
    {
        using (stream)
        {
            using IEnumerator<JsonNode?> items = JsonSerializer.DeserializeAsyncEnumerable<JsonNode>(stream, JsonText.Reading).ToBlockingEnumerable().GetEnumerator();
            for (int place = 1; Next(items); place++)
            {
                yield return SourceRow.Of(place, items.Current);
            }
        }
    }

    private static bool Next(IEnumerator<JsonNode?> items)
    {
        try
        {
            return items.MoveNext();
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException(JsonText.Reason(exception), exception);
        }
    }
}
