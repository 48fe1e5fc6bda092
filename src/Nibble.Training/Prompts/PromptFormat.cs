using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using Nibble.Data;
using Nibble.Modeling.Checkpoints;

namespace Nibble.Training.Prompts;

/// <summary>
/// What the prompts looked like that a model was trained on. It is stored beside the weights, so that what asks the model later can
/// write its prompts alike.
/// </summary>
/// <param name="Style">How records became prompts.</param>
/// <param name="Kind">What came of them: Alpaca prompts, chats, prompts and completions, plain text, or tokens made elsewhere.</param>
/// <param name="Template">The template of chats; null for the other kinds.</param>
public sealed record PromptFormat(PromptStyle Style, DatasetFormat Kind, NamedTemplate? Template)
{
    /// <summary>The file that says it.</summary>
    public const string FileName = "prompt_format.json";

    /// <summary>The file where transformers and <see cref="Modeling.Tokenizers.HfTokenizer"/> look for a chat template first.</summary>
    public const string TemplateFileName = "chat_template.jinja";

    private static readonly JsonSerializerOptions Json = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
        RespectRequiredConstructorParameters = true,
        Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        WriteIndented = true,
    };

    /// <summary>What records of a form become.</summary>
    public static DatasetFormat KindOf(DatasetFormat form, PromptStyle style) => style switch
    {
        PromptStyle.Alpaca => DatasetFormat.Alpaca,
        PromptStyle.Chat => DatasetFormat.Chat,
        _ => form switch
        {
            DatasetFormat.Sharegpt => DatasetFormat.Chat,
            DatasetFormat.Choice => DatasetFormat.Completion,
            _ => form,
        },
    };

    /// <summary>A kind in words.</summary>
    public static string Describe(DatasetFormat kind) => kind switch
    {
        DatasetFormat.Alpaca => "Alpaca prompts",
        DatasetFormat.Chat => "chats",
        DatasetFormat.Completion => "prompts as they stand",
        DatasetFormat.Text => "plain text",
        _ => "tokens made elsewhere",
    };

    /// <summary>What a folder of weights says.</summary>
    /// <returns>Null where it says nothing, as folders of other programs do.</returns>
    /// <exception cref="InvalidDataException">What it says is damaged, or its template is not the one that the model was trained with.</exception>
    public static PromptFormat? Read(string folder)
    {
        string path = Path.Combine(folder, FileName);
        if (!File.Exists(path))
        {
            return null;
        }

        Stored stored;
        try
        {
            stored = JsonSerializer.Deserialize<Stored>(File.ReadAllText(path), Json) ?? throw new JsonException("it is null");
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{path} is damaged: {exception.Message}", exception);
        }

        if (stored.ChatTemplateSha256 is not { } hash)
        {
            return new PromptFormat(stored.PromptFormat, stored.Kind, null);
        }

        string templatePath = Path.Combine(folder, TemplateFileName);
        NamedTemplate? template = File.Exists(templatePath) ? new NamedTemplate(stored.ChatTemplate, File.ReadAllText(templatePath)) : null;
        return template?.Sha256 == hash
            ? new PromptFormat(stored.PromptFormat, stored.Kind, template)
            : throw new InvalidDataException(
                $"{templatePath} {(template is null ? "is missing" : "was changed")}: {FileName} names a template with sha256 {hash}; put that one back, or delete {FileName}.");
    }

    /// <summary>
    /// Says it in a folder of weights. The template becomes the folder's only one: <c>chat_template</c> of tokenizer_config.json and
    /// chat_template.json, where older programs keep another, go.
    /// </summary>
    public void Save(string folder)
    {
        if (Template is { } template)
        {
            AtomicFile.WriteText(Path.Combine(folder, TemplateFileName), template.Text);
            File.Delete(Path.Combine(folder, "chat_template.json"));
            string settings = Path.Combine(folder, "tokenizer_config.json");
            if (File.Exists(settings) && JsonNode.Parse(File.ReadAllText(settings)) is JsonObject json && json.Remove("chat_template"))
            {
                AtomicFile.WriteText(settings, json.ToJsonString(Json));
            }
        }

        AtomicFile.WriteText(Path.Combine(folder, FileName), ToJson().ToJsonString(Json));
    }

    /// <summary>What the file says; of the template its name and hash.</summary>
    public JsonNode ToJson() => JsonSerializer.SerializeToNode(new Stored(Style, Kind, Template?.Name, Template?.Sha256), Json)!;

    /// <summary>Whether prompts of another kind may come from the same training: they are the same kind, or nothing speaks against it.</summary>
    public bool IsLike(DatasetFormat kind) =>
        Kind == kind || Kind == DatasetFormat.Tokenized || kind == DatasetFormat.Tokenized || (IsRaw(Kind) && IsRaw(kind));

    /// <summary>In words.</summary>
    public override string ToString() => Template is null ? Describe(Kind) : $"{Describe(Kind)} by {Template}";

    private static bool IsRaw(DatasetFormat kind) => kind is DatasetFormat.Completion or DatasetFormat.Text;

    private sealed record Stored(PromptStyle PromptFormat, DatasetFormat Kind, string? ChatTemplate, string? ChatTemplateSha256);
}
