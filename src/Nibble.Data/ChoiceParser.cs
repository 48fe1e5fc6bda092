using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Data;

/// <summary>
/// Reads multiple-choice records as public benchmarks write them: choices as a list (MMLU) or as texts with labels (ARC), the answer
/// as <c>answer</c> or <c>answerKey</c>.
/// </summary>
internal static class ChoiceParser
{
    public static ChoiceExample Parse(JsonObject record)
    {
        string question = RecordParser.Text(record, "question", "choice records need question, choices and answer");
        (string[] choices, string[] labels) = record["choices"] switch
        {
            JsonArray list => (Texts(list, "choices"), []),
            JsonObject labelled => (Texts(labelled["text"], "choices.text"), Texts(labelled["label"], "choices.label")),
            _ => throw new FormatException("field 'choices' is no list of texts, nor an object of text and label"),
        };
        if (choices.Length < 2)
        {
            throw new FormatException($"has {choices.Length} choices; expected at least two");
        }

        int answer = Place(record["answer"] ?? record["answerKey"] ?? throw new FormatException("field 'answer' is missing (choice records need question, choices and answer)"), choices, labels);
        return (uint)answer < (uint)choices.Length
            ? new ChoiceExample(question, choices, answer)
            : throw new FormatException($"answer {(record["answer"] ?? record["answerKey"])!.ToJsonString()} is none of its {choices.Length} choices");
    }

    private static string[] Texts(JsonNode? list, string field)
    {
        try
        {
            return list.Deserialize<string[]>() is { } texts && !texts.Contains(null) ? texts : throw new FormatException($"field '{field}' is missing or has gaps");
        }
        catch (JsonException)
        {
            throw new FormatException($"field '{field}' is not a list of texts");
        }
    }

    /// <summary>The place of an answer given as number, label, text or letter; -1 where it is none of the choices.</summary>
    private static int Place(JsonNode answer, string[] choices, string[] labels)
    {
        if (answer is JsonValue number && number.TryGetValue(out int place))
        {
            return place;
        }

        string text = answer.ToString();
        int found = Array.IndexOf(labels, text);
        found = found < 0 ? Array.IndexOf(choices, text) : found;
        return found >= 0 ? found
            : text is [>= 'A' and <= 'Z' and var letter] ? letter - 'A'
            : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int digits) ? digits
            : -1;
    }
}
