using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Modeling.ChatTemplates;
using Nibble.Tests;

namespace Nibble.Modeling.Tests.ChatTemplates;

public class ChatTemplateTests
{
    [Fact]
    public void Every_published_template_renders_to_the_character_with_its_errors_and_generation_spans()
    {
        JsonNode vectors = JsonNode.Parse(File.ReadAllText(SharedFolder.Path("vectors", "chat_templates", "chat_vectors.json")))!;
        DateTime now = DateTime.Parse((string)vectors["meta"]!["now_for_strftime_now"]!, CultureInfo.InvariantCulture);
        var failures = new List<string>();
        int cases = 0;
        foreach (JsonNode? template in vectors["templates"]!.AsArray())
        {
            foreach (JsonNode? item in template!["cases"]!.AsArray())
            {
                cases++;
                string? problem = Check(template, item!, now);
                if (problem is not null)
                {
                    failures.Add($"{template["id"]}/{item!["name"]}: {problem}");
                }
            }
        }

        Assert.True(failures.Count == 0, $"{failures.Count} of {cases} differ:\n{string.Join('\n', failures.Take(25))}");
        Assert.Equal(557, cases);
    }

    [Theory]
    [InlineData("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}")]
    [InlineData("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}")]
    [InlineData("{{ 'x' * 1000000000000 }}")]
    [InlineData("{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(100) %}{% set ns.s = ns.s + ns.s %}{% endfor %}")]
    [InlineData("{{ range(1000000000) | length }}")]
    [InlineData("{{ [0] * 100000000000 }}")]
    [InlineData("{{ 9 ** 9 ** 9 ** 9 }}")]
    [InlineData("{{ '%1000000000d' % 1 }}")]
    [InlineData("{% set ns = namespace(a=[]) %}{% for i in range(100000) %}{% set ns.a = [ns.a] %}{% endfor %}{{ ns.a }}")]
    [InlineData("{% set ns = namespace(a=[]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a }}")]
    [InlineData("{% set ns = namespace(a=[]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | tojson }}")]
    [InlineData("{% set ns = namespace(a=[], b=[]) %}{% for i in range(60) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}")]
    [InlineData("{{ ['x' * 10000000] * 1000 }}")]
    [InlineData("{{ (['x' * 10000000] * 1000) | join }}")]
    public void A_hostile_template_ends_with_an_error(string template)
    {
        Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse(template).Render([]));
    }

    [Theory]
    [InlineData("(")]
    [InlineData("[")]
    [InlineData("not ")]
    [InlineData("-")]
    public void Deep_nesting_is_refused_before_it_overflows_the_stack(string opening)
    {
        string template = "{{ " + string.Concat(Enumerable.Repeat(opening, 100_000));
        Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse(template));
    }

    [Theory]
    [InlineData("{{ 1", "+1", " }}")]
    [InlineData("{{ x", "|trim", " }}")]
    [InlineData("{{ x", ".y", " }}")]
    [InlineData("{% filter trim", "|trim", " %}{% endfilter %}")]
    [InlineData("{{ 1", " if 0 else 1", " }}")]
    public void A_long_chain_is_refused_before_it_overflows_the_stack(string start, string link, string end)
    {
        string template = start + string.Concat(Enumerable.Repeat(link, 100_000)) + end;
        Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse(template).Render([]));
    }

    [Theory]
    [InlineData("{% if x %}", "endif")]
    [InlineData("{{ x", "no end")]
    [InlineData("{% include 'a' %}", "include")]
    [InlineData("{{ x | nonsense }}", "nonsense")]
    [InlineData("{{ x.y.z }}", "undefined")]
    [InlineData("{{ messages.append(1) }}", "would change")]
    public void What_is_wrong_is_named(string template, string part)
    {
        var exception = Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse(template).Render([]));
        Assert.Contains(part, exception.Message, StringComparison.Ordinal);
    }

    private static string? Check(JsonNode template, JsonNode item, DateTime now)
    {
        var variables = (JsonObject)item["vars"]!.DeepClone();
        if (!((string)item["name"]!).StartsWith("huggingface.js", StringComparison.Ordinal))
        {
            variables.TryAdd("tools", null);
            variables.TryAdd("documents", null);
        }

        try
        {
            RenderedChat rendered = ChatTemplate.Parse((string)template["template"]!).Render(item["messages"]!.AsArray(), variables, now);
            if (item["error"] is not null)
            {
                return $"expected the error {item["message"]}";
            }

            if (rendered.Text != (string)item["expected"]!)
            {
                int at = rendered.Text.Zip((string)item["expected"]!).TakeWhile(pair => pair.First == pair.Second).Count();
                return $"differs at {at}: {Around(rendered.Text, at)} expected {Around((string)item["expected"]!, at)}";
            }

            string spans = string.Join(' ', rendered.GenerationSpans.Select(span => $"{span.Start}-{span.End}"));
            string expected = item["generation_spans_utf16"] is JsonArray list ? string.Join(' ', list.Select(span => $"{span![0]}-{span[1]}")) : spans;
            return spans == expected ? null : $"spans {spans}, expected {expected}";
        }
        catch (ChatTemplateException exception)
        {
            return item["error"] is null ? $"failed: {exception.Message}"
                : (string)item["error"]! == "raise_exception" && (!exception.RaisedByTemplate || exception.Message != (string)item["message"]!)
                    ? $"raised '{exception.Message}', expected '{item["message"]}'" : null;
        }
    }

    private static string Around(string text, int at) => JsonValue.Create(text[Math.Max(0, at - 30)..Math.Min(text.Length, at + 40)]).ToJsonString();
}
