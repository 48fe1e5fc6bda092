using System.Text.Json.Nodes;
using Nibble.Data.Files;
using Nibble.Data.Validation;

namespace Nibble.Data;

/// <summary>Turns records from one form into another, and stores them.</summary>
public static class DatasetFormatter
{
    /// <summary>ShareGPT's speakers by role.</summary>
    private static readonly Dictionary<string, string> Speakers = new()
    {
        ["system"] = "system",
        ["developer"] = "system",
        ["user"] = "human",
        ["assistant"] = "gpt",
        ["tool"] = "observation",
    };

    /// <summary>The JSON object that holds a record in a format.</summary>
    /// <param name="record">In any form.</param>
    /// <param name="format">The form of the result; <see cref="DatasetFormat.Auto"/> keeps the record's own.</param>
    /// <param name="template">For <see cref="DatasetFormat.Completion"/>: see <see cref="TrainingExample.ToCompletionFormat"/>.</param>
    /// <exception cref="FormatException">The format cannot hold such a record.</exception>
    public static JsonObject Format(DatasetRecord record, DatasetFormat format = DatasetFormat.Auto, string? template = null) => (format, record) switch
    {
        (DatasetFormat.Alpaca, _) or (DatasetFormat.Auto, TrainingExample) => Json(ToTraining(record, "alpaca")),
        (DatasetFormat.Chat, _) or (DatasetFormat.Auto, ChatExample) => Messages(ToChat(record, "chat")),
        (DatasetFormat.Sharegpt, _) => Conversations(ToChat(record, "sharegpt")),
        (DatasetFormat.Completion, _) or (DatasetFormat.Auto, CompletionExample) => Json(ToCompletion(record, template)),
        (DatasetFormat.Choice or DatasetFormat.Auto, ChoiceExample choice) => Json(choice),
        (DatasetFormat.Choice, _) => throw new FormatException("has no choices"),
        (DatasetFormat.Text, _) or (DatasetFormat.Auto, TextExample) => new JsonObject { ["text"] = ToText(record) },
        (DatasetFormat.Auto or DatasetFormat.Tokenized, TokenizedExample tokens) => new JsonObject { ["input_ids"] = Numbers(tokens.InputIds), ["labels"] = Numbers(tokens.Labels) },
        _ => throw Refused(record, "tokenized"),
    };

    /// <summary>Writes records as JSON lines, gzipped if the name ends in .gz.</summary>
    /// <param name="records">Taken one at a time.</param>
    /// <param name="path">Replaced only when all records are written.</param>
    /// <param name="format">The form of the lines; <see cref="DatasetFormat.Auto"/> keeps each record's own.</param>
    /// <returns>How many.</returns>
    /// <exception cref="FormatException">The format cannot hold one of the records.</exception>
    public static int SaveJsonl(IEnumerable<DatasetRecord> records, string path, DatasetFormat format = DatasetFormat.Auto)
    {
        ArgumentNullException.ThrowIfNull(records);
        return JsonLines.Save(records.Select(record => Format(record, format)), path);
    }

    /// <summary>Writes the records of a file in another format, as JSON lines.</summary>
    /// <param name="path">The file, larger than memory if need be.</param>
    /// <param name="output">Replaced only when all records are written.</param>
    /// <param name="format">The form of the lines.</param>
    /// <param name="options">How the file is read; a record that the format cannot hold is a bad line too.</param>
    /// <param name="template">For <see cref="DatasetFormat.Completion"/>: see <see cref="TrainingExample.ToCompletionFormat"/>.</param>
    /// <param name="cancellation">Stops the work.</param>
    /// <returns>How many.</returns>
    /// <exception cref="InvalidDataException">A record is malformed, or the format cannot hold it.</exception>
    public static int Convert(string path, string output, DatasetFormat format, DatasetReadOptions options, string? template = null, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        return JsonLines.Save(DatasetReader.ReadLines(path, options).Select(Converted).OfType<JsonObject>(), output);

        JsonObject? Converted(DatasetLine line)
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                return Format(line.Record, format, template);
            }
            catch (FormatException exception)
            {
                var bad = new BadLine(path, line.Line, IssueCodes.InvalidRecord, exception.Message);
                (options.OnBadLine ?? throw new InvalidDataException(bad.ToString(), exception))(bad);
                return null;
            }
        }
    }

    /// <summary>The records of a file, read one at a time; see <see cref="DatasetReader"/>, which also reads other files than JSON lines.</summary>
    /// <exception cref="InvalidDataException">A record is malformed; the message has file, line and reason.</exception>
    public static IEnumerable<DatasetRecord> LoadJsonl(string path) => DatasetReader.Read(path);

    /// <summary>The form that a record has.</summary>
    public static DatasetFormat FormOf(DatasetRecord record) => record switch
    {
        ChatExample => DatasetFormat.Chat,
        TrainingExample => DatasetFormat.Alpaca,
        CompletionExample => DatasetFormat.Completion,
        ChoiceExample => DatasetFormat.Choice,
        TextExample => DatasetFormat.Text,
        _ => DatasetFormat.Tokenized,
    };

    /// <summary>A record as one question and its answer.</summary>
    /// <param name="record">In any form.</param>
    /// <param name="format">What it is wanted for, to be named when it is refused.</param>
    /// <exception cref="FormatException">It is none.</exception>
    public static TrainingExample ToTraining(DatasetRecord record, string format) => record switch
    {
        TrainingExample example => example,
        CompletionExample completion => new TrainingExample(completion.Prompt, "", completion.Completion),
        ChoiceExample choice => new TrainingExample(choice.Question, "", choice.Choices[choice.Answer]),
        ChatExample { Tools: null } chat => Exchange(chat) ?? throw new FormatException($"has {chat.Messages.Count} messages; {format} holds one question and its answer"),
        _ => throw Refused(record, format),
    };

    /// <summary>A record as a conversation.</summary>
    /// <param name="record">In any form.</param>
    /// <param name="format">What it is wanted for, to be named when it is refused.</param>
    /// <exception cref="FormatException">It is none.</exception>
    public static ChatExample ToChat(DatasetRecord record, string format) => record switch
    {
        ChatExample chat => chat,
        TrainingExample or CompletionExample or ChoiceExample => ToTraining(record, format).ToChatFormat(),
        _ => throw Refused(record, format),
    };

    /// <summary>One question and its answer, after a system turn or none; null for any other conversation.</summary>
    private static TrainingExample? Exchange(ChatExample chat)
    {
        (string? Role, string? Content)[] turns =
            [.. chat.Messages.Select(message => ((string?)message!["role"], message["content"] is JsonValue value && value.TryGetValue(out string? text) ? text : null))];
        return turns switch
        {
            [("system", { } system), ("user", { } question), ("assistant", { } answer)] => new TrainingExample(question, "", answer, system),
            [("user", { } question), ("assistant", { } answer)] => new TrainingExample(question, "", answer),
            _ => null,
        };
    }

    private static CompletionExample ToCompletion(DatasetRecord record, string? template) =>
        record as CompletionExample ?? (template is null && record is ChoiceExample choice ? choice.With(choice.Answer) : ToTraining(record, "completion").ToCompletionFormat(template));

    private static string ToText(DatasetRecord record) => record switch
    {
        TextExample text => text.Text,
        TrainingExample example => example.ToAlpacaFormat(),
        CompletionExample completion => completion.Prompt + completion.Completion,
        ChoiceExample choice => ToText(choice.With(choice.Answer)),
        ChatExample => throw new FormatException("is a conversation, which only a model's chat template turns into text"),
        _ => throw Refused(record, "text"),
    };

    private static JsonObject Json(TrainingExample example)
    {
        var json = new JsonObject { ["instruction"] = example.Instruction, ["input"] = example.Input, ["output"] = example.Output };
        if (example.System is { } system)
        {
            json["system"] = system;
        }

        return json;
    }

    private static JsonObject Json(CompletionExample example) => new() { ["prompt"] = example.Prompt, ["completion"] = example.Completion };

    private static JsonObject Json(ChoiceExample example) => new()
    {
        ["question"] = example.Question,
        ["choices"] = new JsonArray([.. example.Choices.Select(choice => (JsonNode)choice)]),
        ["answer"] = example.Answer,
    };

    private static JsonObject Messages(ChatExample chat) => WithTools(new JsonObject { ["messages"] = chat.Messages.DeepClone() }, chat);

    private static JsonObject Conversations(ChatExample chat)
    {
        var turns = new JsonArray();
        foreach (JsonNode? message in chat.Messages)
        {
            turns.Add(new JsonObject { ["from"] = Speakers[(string)message!["role"]!], ["value"] = message["content"]?.DeepClone() ?? "" });
        }

        return WithTools(new JsonObject { ["conversations"] = turns }, chat);
    }

    private static JsonObject WithTools(JsonObject json, ChatExample chat)
    {
        if (chat.Tools is { } tools)
        {
            json["tools"] = tools.DeepClone();
        }

        return json;
    }

    private static JsonArray Numbers(int[] values) => new([.. values.Select(value => (JsonNode)value)]);

    private static FormatException Refused(DatasetRecord record, string format) => new(record switch
    {
        _ when format == "tokenized" => "is text, which only a tokenizer turns into tokens",
        TextExample => $"is plain text, in which {format} cannot tell question from answer",
        TokenizedExample => $"is made of tokens, which {format} cannot hold",
        _ => $"has tools, which {format} cannot hold",
    });
}
