using Nibble.Evaluation.Structured;
using Nibble.Tests;

namespace Nibble.Evaluation.Tests.Structured;

public class JsonSchemaEvaluatorTests
{
    private const string Person = """
        {
          "$schema": "https://json-schema.org/draft/2020-12/schema",
          "$defs": {"tag": {"type": "string", "minLength": 2}},
          "type": "object",
          "properties": {
            "kind": {"const": "person"}, "name": {"type": "string"}, "age": {"type": ["integer", "null"], "minimum": 0},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}}, "if": true, "never": false
          },
          "required": ["kind", "name"],
          "additionalProperties": false
        }
        """;

    [Fact]
    public async Task Outputs_that_parse_and_those_that_are_valid_are_counted_with_what_is_wrong()
    {
        string[] predictions =
        [
            """{"kind": "person", "name": "Ada", "age": 36, "tags": ["math"], "if": 1}""",
            "Here it is:\n```json\n{\"kind\": \"person\", \"name\": \"Ada\", \"age\": null}\n```\nAnything else?",
            """{"kind": "person", "tags": ["a", "b", "cc"]}""",
            """{"kind": "animal", "name": "Rex"}""",
            """{"kind": "person", "name": "Ada", "never": 1, "more": 2}""",
            """{"kind": "person", "name": "Ada",}""",
            """{"kind": "person", "name": "Ada", "name": "Eve"}""",
            "```\n{}\n```\nor\n```\n{}\n```",
            "I cannot do that.",
            "[1]",
        ];
        EvaluationResult result = await EvaluateAsync(Person, predictions);
        Assert.Equal([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], result.Values);
        Assert.Equal(0.2, result.Score);
        Assert.Equal((0.6, 0.2, 1), (result.Details["parse_rate"], result.Details["valid_rate"], result.Details["fenced"]));
        Assert.Equal(2, result.Details["violation: property_required #/name"]);
        Assert.Equal(1, result.Details["violation: string_too_short #/tags[*]"]);
        Assert.Equal(1, result.Details["violation: not_in_enumeration #/kind"]);
        Assert.Equal(1, result.Details["violation: no_additional_properties_allowed #/more"]);
        Assert.Equal("violation: property_required #/name", result.Details.Keys.First(key => key.StartsWith("violation", StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("""{"type": "string"}""", "\"x\"", "1")]
    [InlineData("""{"anyOf": [{"type": "string"}, {"const": 3}]}""", "3", "4")]
    [InlineData("""{"oneOf": [{"minimum": 3}, {"multipleOf": 2}]}""", "2", "4")]
    [InlineData("""{"allOf": [{"minimum": 3}, {"maximum": 4}]}""", "4", "5")]
    [InlineData("""{"not": {"type": "null"}}""", "1", "null")]
    [InlineData("""{"items": [{"type": "null"}], "additionalItems": {"const": 1}}""", "[null, 1]", "[null, 2]")]
    [InlineData("""{"patternProperties": {"^x": {"const": 1}}}""", """{"x1": 1}""", """{"x1": 2}""")]
    [InlineData("""{"additionalProperties": {"const": 1}}""", """{"a": 1}""", """{"a": 2}""")]
    [InlineData("""{"enum": [1, "a", null]}""", "null", "\"b\"")]
    [InlineData("""{"exclusiveMinimum": 3}""", "4", "3")]
    [InlineData("""{"type": "string", "format": "date-time"}""", "\"2020-02-03T04:05:06Z\"", "\"yesterday\"")]
    [InlineData("""{"definitions": {"n": {"properties": {"n": {"$ref": "#/definitions/n"}}, "required": ["v"]}}, "$ref": "#/definitions/n"}""", """{"v": 1, "n": {"v": 2}}""", """{"v": 1, "n": {}}""")]
    [InlineData("true", "1", "{")]
    public async Task Each_keyword_tells_valid_from_invalid(string schema, string valid, string invalid) =>
        Assert.Equal([1, 0], (await EvaluateAsync(schema, valid, invalid)).Values);

    [Theory]
    [InlineData("""{"properties": {"a": {"if": {}, "then": {}}}}""", "#/properties/a/if is a keyword that is not supported")]
    [InlineData("""{"items": {"contains": {}}}""", "#/items/contains is a keyword that is not supported")]
    [InlineData("""{"type": "objekt"}""", "#/type is \"objekt\"; expected array,")]
    [InlineData("""{"$ref": "https://example.com/schema.json"}""", "expected a place in the same file")]
    [InlineData("""{"$ref": "#/$defs/none"}""", "#/$defs/none")]
    [InlineData("""{"properties": {"a": 3}}""", "#/properties/a is not an object, true or false")]
    [InlineData("[]", "# is not an object")]
    [InlineData("{", "is not valid JSON")]
    public async Task A_schema_that_would_not_be_checked_is_refused(string schema, string problem)
    {
        var exception = await Assert.ThrowsAsync<InvalidDataException>(() => EvaluateAsync(schema, "1"));
        Assert.Contains(problem, exception.Message, StringComparison.Ordinal);
        Assert.Contains("schema.json", exception.Message, StringComparison.Ordinal);
    }

    private static async Task<EvaluationResult> EvaluateAsync(string schema, params string[] predictions)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["schema.json"], schema);
        return await new JsonSchemaEvaluator(folder["schema.json"]).EvaluateAsync([.. predictions.Select(text => new EvaluationExample("", [], text))]);
    }
}
