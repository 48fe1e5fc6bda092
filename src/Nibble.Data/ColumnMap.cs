using System.Globalization;
using System.Text.Json.Nodes;

namespace Nibble.Data;

/// <summary>Gives columns the names that a format asks for.</summary>
internal static class ColumnMap
{
    /// <summary>Sets each field to a copy of its column.</summary>
    /// <exception cref="FormatException">The column is absent.</exception>
    public static void Apply(IReadOnlyDictionary<string, string> map, JsonObject fields)
    {
        foreach ((string field, string column) in map)
        {
            JsonNode? value = Find(fields, column);
            fields[field] = value is not null || fields.ContainsKey(column)
                ? value?.DeepClone()
                : throw new FormatException($"has no column '{column}' to read '{field}' from; it has {string.Join(", ", fields.Select(item => item.Key))}");
        }
    }

    /// <summary>The value of a column; a name that is no key itself is a path of keys and places, such as <c>instances.0.output</c>.</summary>
    public static JsonNode? Find(JsonObject fields, string column)
    {
        if (fields.TryGetPropertyValue(column, out JsonNode? value))
        {
            return value;
        }

        JsonNode? node = fields;
        foreach (string part in column.Split('.'))
        {
            node = node switch
            {
                JsonObject inner => inner[part],
                JsonArray items when int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out int place) && place < items.Count => items[place],
                _ => null,
            };
        }

        return node;
    }
}
