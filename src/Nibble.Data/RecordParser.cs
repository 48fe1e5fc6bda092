using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Data;

/// <summary>Turns a JSON object into a record of a format, or says which field is missing or wrong.</summary>
internal static class RecordParser
{
    private static readonly HashSet<string> Roles = ["system", "developer", "user", "assistant", "tool"];

    /// <summary>ShareGPT's speakers and the roles they are.</summary>
    private static readonly Dictionary<string, string> Speakers = new()
    {
        ["human"] = "user",
        ["user"] = "user",
        ["gpt"] = "assistant",
        ["assistant"] = "assistant",
        ["system"] = "system",
        ["observation"] = "tool",
        ["tool"] = "tool",
        ["function_call"] = "assistant",
    };

    /// <summary>The fields by which forms are told apart, the first that is there deciding.</summary>
    private static readonly (string Key, DatasetFormat Format)[] Signs =
    [
        ("input_ids", DatasetFormat.Tokenized), ("messages", DatasetFormat.Chat), ("conversations", DatasetFormat.Chat),
        ("choices", DatasetFormat.Choice), ("instruction", DatasetFormat.Alpaca), ("prompt", DatasetFormat.Completion), ("text", DatasetFormat.Text),
    ];

    /// <summary>Whether an object has a field that records have.</summary>
    public static bool IsRecord(JsonObject fields) => Signs.Any(sign => fields.ContainsKey(sign.Key));

    public static DatasetFormat Detect(JsonObject record) => IsRecord(record)
        ? Signs.First(sign => record.ContainsKey(sign.Key)).Format
        : throw new FormatException(
            $"has the fields {string.Join(", ", record.Select(field => field.Key))}; expected instruction/output, messages, prompt/completion, question/choices/answer, text or input_ids/labels");

    public static DatasetRecord Parse(JsonObject record, DatasetFormat format) => format switch
    {
        DatasetFormat.Alpaca => new TrainingExample(
            Text(record, "instruction", "alpaca records need instruction and output"),
            OptionalText(record, "input") ?? "",
            Text(record, "output", "alpaca records need instruction and output"),
            OptionalText(record, "system")),
        DatasetFormat.Completion => new CompletionExample(
            Text(record, "prompt", "completion records need prompt and completion"),
            Text(record, "completion", "completion records need prompt and completion")),
        DatasetFormat.Choice => ChoiceParser.Parse(record),
        DatasetFormat.Text => new TextExample(Text(record, "text", "text records need text")),
        DatasetFormat.Chat => Chat(record, shareGpt: !record.ContainsKey("messages") && record.ContainsKey("conversations")),
        DatasetFormat.Sharegpt => Chat(record, shareGpt: true),
        DatasetFormat.Tokenized => Tokenized(record),
        _ => throw new ArgumentOutOfRangeException(nameof(format)),
    };

    public static string Text(JsonObject record, string key, string need) =>
        OptionalText(record, key) ?? throw new FormatException($"field '{key}' is missing ({need})");

    private static string? OptionalText(JsonObject record, string key) => record[key] switch
    {
        null => null,
        JsonValue value when value.TryGetValue(out string? text) => text,
        _ => throw new FormatException($"field '{key}' is not a string"),
    };

    private static ChatExample Chat(JsonObject record, bool shareGpt)
    {
        JsonArray messages = shareGpt ? FromShareGpt(record) : Turns(record, "messages");
        if (messages.Count == 0)
        {
            throw new FormatException("field 'messages' is empty");
        }

        for (int i = 0; i < messages.Count; i++)
        {
            string role = (messages[i] as JsonObject)?["role"]?.ToString() ?? throw new FormatException($"message {i + 1} has no 'role'");
            if (!Roles.Contains(role))
            {
                throw new FormatException($"message {i + 1} has role '{role}'; expected {string.Join(", ", Roles)}");
            }
        }

        return new ChatExample((JsonArray)messages.DeepClone(), record["tools"]?.DeepClone());
    }

    private static JsonArray Turns(JsonObject record, string key) =>
        record[key] as JsonArray ?? throw new FormatException(record.ContainsKey(key) ? $"field '{key}' is not a list" : $"field '{key}' is missing (chat records need {key})");

    private static JsonArray FromShareGpt(JsonObject record)
    {
        JsonArray turns = Turns(record, "conversations");
        var messages = new JsonArray();
        for (int i = 0; i < turns.Count; i++)
        {
            string from = (turns[i] as JsonObject)?["from"]?.ToString() ?? throw new FormatException($"conversation turn {i + 1} has no 'from'");
            string role = Speakers.GetValueOrDefault(from) ?? throw new FormatException($"conversation turn {i + 1} is from '{from}'; expected {string.Join(", ", Speakers.Keys)}");
            messages.Add(new JsonObject { ["role"] = role, ["content"] = turns[i]!["value"]?.ToString() ?? "" });
        }

        return messages;
    }

    private static TokenizedExample Tokenized(JsonObject record)
    {
        int[] ids = Ids(record, "input_ids");
        int[] labels = record.ContainsKey("labels") ? Ids(record, "labels") : ids;
        if (ids.Length == 0)
        {
            throw new FormatException("field 'input_ids' is empty");
        }

        return labels.Length == ids.Length
            ? new TokenizedExample(ids, labels)
            : throw new FormatException($"has {ids.Length} input_ids but {labels.Length} labels");
    }

    private static int[] Ids(JsonObject record, string key)
    {
        try
        {
            return record[key].Deserialize<int[]>() ?? throw new FormatException($"field '{key}' is missing (tokenized records need input_ids and labels)");
        }
        catch (JsonException)
        {
            throw new FormatException($"field '{key}' is not a list of whole numbers");
        }
    }
}
