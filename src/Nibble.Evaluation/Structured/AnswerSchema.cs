using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Nibble.Data.Files;
using NJsonSchema;
using NJsonSchema.Validation;

namespace Nibble.Evaluation.Structured;

/// <summary>
/// A JSON schema. What its library knows is draft 4 with definitions wherever they lie; <c>const</c>, <c>$ref</c> beside other keywords, and
/// true or false in a schema's place are rewritten, and keywords that it would pass over in silence are refused.
/// </summary>
internal sealed partial class AnswerSchema
{
    private static readonly string[] PassedOver =
    [
        "if", "then", "else", "prefixItems", "contains", "minContains", "maxContains", "propertyNames", "dependencies", "dependentRequired",
        "dependentSchemas", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef",
    ];

    private static readonly string[] Types = ["array", "boolean", "integer", "null", "number", "object", "string"];

    /// <summary>What is wrong with a part says more than that a part is wrong.</summary>
    private static readonly ValidationErrorKind[] MadeOfParts =
        [ValidationErrorKind.ArrayItemNotValid, ValidationErrorKind.AdditionalPropertiesNotValid, ValidationErrorKind.NotAllOf];

    private readonly JsonSchema schema;

    private AnswerSchema(JsonSchema schema) => this.schema = schema;

    /// <exception cref="InvalidDataException">The file is no JSON schema, or one that cannot be checked.</exception>
    public static async Task<AnswerSchema> LoadAsync(string path, CancellationToken cancellation)
    {
        string text = await File.ReadAllTextAsync(path, cancellation).ConfigureAwait(false);
        try
        {
            JsonObject prepared = Prepared(JsonText.Parse(text), "#");
            return new AnswerSchema(await JsonSchema.FromJsonAsync(prepared.ToJsonString(), cancellation).ConfigureAwait(false));
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{path} {JsonText.Reason(exception)}.", exception);
        }
        catch (Exception exception) when (exception is FormatException or InvalidOperationException or Newtonsoft.Json.JsonException)
        {
            throw new InvalidDataException($"{path} is not a JSON schema that can be checked: {exception.Message}", exception);
        }
    }

    /// <summary>What is wrong with a document: kind and place, with * for any place in a list.</summary>
    public IEnumerable<string> Violations(string json) => schema.Validate(json).SelectMany(Leaves).Distinct();

    private static IEnumerable<string> Leaves(ValidationError error)
    {
        string own = $"{JsonNamingPolicy.SnakeCaseLower.ConvertName(error.Kind.ToString())} {Place().Replace(error.Path ?? "#/", "[*]")}";
        return error is ChildSchemaValidationError parent && MadeOfParts.Contains(error.Kind)
            ? parent.Errors.Values.SelectMany(errors => errors).SelectMany(Leaves).DefaultIfEmpty(own)
            : [own];
    }

    private static JsonObject Prepared(JsonNode? node, string place)
    {
        if (node is JsonValue value && value.TryGetValue(out bool anything))
        {
            return anything ? new JsonObject() : new JsonObject { ["not"] = new JsonObject() };
        }

        var prepared = new JsonObject();
        foreach ((string key, JsonNode? content) in node as JsonObject ?? throw new FormatException($"{place} is not an object, true or false"))
        {
            string inside = $"{place}/{key}";
            (string name, JsonNode? kept) = (key, content) switch
            {
                ("const", _) => ("enum", new JsonArray(content?.DeepClone())),
                ("type", _) => (key, Type(content, inside)),
                ("$ref", _) => (key, Reference(content, inside)),
                ("properties" or "patternProperties" or "definitions" or "$defs", JsonObject map) =>
                    (key, new JsonObject(map.Select(item => KeyValuePair.Create(item.Key, (JsonNode?)Prepared(item.Value, $"{inside}/{item.Key}"))))),
                ("allOf" or "anyOf" or "oneOf" or "items", JsonArray list) =>
                    (key, new JsonArray([.. list.Select((item, i) => Prepared(item, $"{inside}/{i}"))])),
                ("not" or "items", _) or ("additionalProperties" or "additionalItems", JsonObject) => (key, Prepared(content, inside)),
                _ when PassedOver.Contains(key) => throw new FormatException($"{inside} is a keyword that is not supported."),
                _ => (key, content?.DeepClone()),
            };
            prepared[name] = kept;
        }

        if (prepared.Count > 1 && prepared.Remove("$ref", out JsonNode? reference))
        {
            prepared["allOf"] = new JsonArray([new JsonObject { ["$ref"] = reference }, .. prepared["allOf"]?.AsArray().Select(item => item?.DeepClone()) ?? []]);
        }

        return prepared;
    }

    private static JsonNode Type(JsonNode? content, string place)
    {
        string?[] types = content is JsonArray several ? [.. several.Select(Text)] : [Text(content)];
        return types.All(type => Types.Contains(type)) ? content!.DeepClone() : throw new FormatException($"{place} is {content?.ToJsonString() ?? "null"}; expected {string.Join(", ", Types)}, or a list of them.");
    }

    private static JsonNode Reference(JsonNode? content, string place) =>
        Text(content) is ['#', ..] ? content!.DeepClone() : throw new FormatException($"{place} is {content?.ToJsonString() ?? "null"}; expected a place in the same file, such as #/$defs/name.");

    private static string? Text(JsonNode? node) => node is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    [GeneratedRegex(@"\[\d+\]")]
    private static partial Regex Place();
}
