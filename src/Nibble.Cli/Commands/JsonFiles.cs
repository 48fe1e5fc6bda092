using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Cli.Commands;

/// <summary>JSON files that the user names, with errors that name them back.</summary>
internal static class JsonFiles
{
    public static JsonArray ReadArray(string path) => Read(path) as JsonArray ?? throw new InvalidDataException($"{path} is not a JSON list.");

    public static JsonObject ReadObject(string path) => Read(path) as JsonObject ?? throw new InvalidDataException($"{path} is not a JSON object.");

    private static JsonNode? Read(string path)
    {
        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"{path} does not exist.", path);
        }

        try
        {
            return JsonNode.Parse(File.ReadAllText(path));
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{path} is not valid JSON: {exception.Message}", exception);
        }
    }
}
