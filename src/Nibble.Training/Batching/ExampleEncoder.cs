using System.Text.Json.Nodes;
using Nibble.Data;
using Nibble.Modeling.ChatTemplates;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;
using Nibble.Training.Prompts;

namespace Nibble.Training.Batching;

/// <summary>Turns records into tokens and labels: what is learned is the answer, with the token that ends it.</summary>
public sealed class ExampleEncoder
{
    private const int Ignored = -100;

    private readonly string model;
    private readonly int maxLength;
    private readonly int vocabSize;
    private readonly PromptStyle style;
    private readonly Lazy<HfTokenizer> tokenizer;
    private readonly Lazy<NamedTemplate> chatTemplate;
    private readonly Lazy<ChatEncoder> chats;

    /// <summary>Encodes for a model.</summary>
    /// <param name="model">The model's folder; its tokenizer is read when a record needs it.</param>
    /// <param name="maxLength">Tokens of an example at most.</param>
    /// <param name="vocabSize">Token ids are below this.</param>
    /// <param name="style">How records become prompts.</param>
    /// <param name="template">The template of chats; null for the model's own.</param>
    public ExampleEncoder(string model, int maxLength, int vocabSize, PromptStyle style = PromptStyle.Auto, NamedTemplate? template = null)
    {
        this.model = model;
        this.maxLength = maxLength;
        this.vocabSize = vocabSize;
        this.style = style;
        tokenizer = new Lazy<HfTokenizer>(() => HfTokenizer.FromPretrained(model));
        chatTemplate = new Lazy<NamedTemplate>(() => template ?? NamedTemplate.Own(tokenizer.Value, model));
        chats = new Lazy<ChatEncoder>(() => new ChatEncoder(tokenizer.Value, ChatTemplate.Parse(chatTemplate.Value.Text)));
    }

    /// <summary>The model's tokenizer.</summary>
    public HfTokenizer Tokenizer => tokenizer.Value;

    /// <summary>What the prompts look like that records of a form become.</summary>
    /// <exception cref="InvalidDataException">They become chats, and the model has no chat template.</exception>
    public PromptFormat FormatOf(DatasetFormat form)
    {
        DatasetFormat kind = PromptFormat.KindOf(form, style);
        return new PromptFormat(style, kind, kind == DatasetFormat.Chat ? chatTemplate.Value : null);
    }

    /// <summary>All examples of a file; counts of cut and dropped ones go to the observer.</summary>
    /// <exception cref="InvalidDataException">A record is malformed, or nothing is left to learn.</exception>
    public List<EncodedExample> Read(string path, DatasetFormat format, ITrainingObserver observer)
    {
        ArgumentNullException.ThrowIfNull(observer);
        DatasetFormat found = DatasetReader.FormOf(path, format);
        var examples = new List<EncodedExample>();
        (int cut, int dropped) = (0, 0);
        foreach ((int line, DatasetRecord record) in DatasetReader.ReadNumbered(path, found))
        {
            EncodedExample example = At(path, line, () => Encode(record));
            if (example.InputIds.Length > maxLength)
            {
                cut++;
                example = new EncodedExample(example.InputIds[..maxLength], example.Labels[..maxLength]);
            }

            if (example.Targets == 0)
            {
                dropped++;
                continue;
            }

            examples.Add(example);
        }

        observer.Info($"{path}: {examples.Count} examples ({found.ToString().ToLowerInvariant()}), {examples.Sum(example => example.InputIds.Length)} tokens, "
            + $"{examples.Sum(example => example.Targets)} learned; {cut} cut to {maxLength} tokens, {dropped} dropped for having nothing to learn.");
        return examples.Count > 0
            ? examples
            : throw new InvalidDataException($"{path}: nothing is left to learn; of {dropped} records none has a label within {maxLength} tokens.");
    }

    /// <summary>One record.</summary>
    /// <exception cref="FormatException">It does not fit the model.</exception>
    public EncodedExample Encode(DatasetRecord record) => Styled(record) switch
    {
        TokenizedExample tokens => Checked(new EncodedExample(tokens.InputIds, tokens.Labels)),
        ChatExample chat => Chat(chat),
        TrainingExample alpaca => PromptAndAnswer(alpaca.Prompt, alpaca.Output),
        CompletionExample completion => PromptAndAnswer(completion.Prompt, completion.Completion),
        ChoiceExample choice => Encode(choice.With(choice.Answer)),
        TextExample text => PromptAndAnswer("", text.Text),
        _ => throw new ArgumentException($"No rule for {record?.GetType().Name}."),
    };

    /// <summary>The question with each of its answers.</summary>
    /// <exception cref="FormatException">It does not fit the model.</exception>
    public IReadOnlyList<EncodedExample> Choices(ChoiceExample record)
    {
        ArgumentNullException.ThrowIfNull(record);
        return [.. record.Choices.Select((_, choice) => Encode(record with { Answer = choice }))];
    }

    /// <summary>Does what <paramref name="encode"/> does with a record of a file, and names file and line when it fails.</summary>
    /// <exception cref="InvalidDataException">The record does not fit the model.</exception>
    public static T At<T>(string path, int line, Func<T> encode)
    {
        ArgumentNullException.ThrowIfNull(encode);
        try
        {
            return encode();
        }
        catch (Exception exception) when (exception is ChatTemplateException or FormatException)
        {
            throw new InvalidDataException($"{path}:{line}: {exception.Message}.", exception);
        }
    }

    private DatasetRecord Styled(DatasetRecord record) => style switch
    {
        PromptStyle.Alpaca => DatasetFormatter.ToTraining(record, "alpaca"),
        PromptStyle.Chat => DatasetFormatter.ToChat(record, "chat"),
        _ => record,
    };

    /// <summary>
    /// Prompt and answer are encoded as one text, as they will stand when the model answers, and the end token is appended and
    /// learned: a model that never sees it end would never stop.
    /// </summary>
    private EncodedExample PromptAndAnswer(string prompt, string answer)
    {
        int end = Tokenizer.EosId ?? throw new InvalidDataException($"{model}: the tokenizer names no eos_token, so no example could end.");
        List<TokenSpan> tokens = Tokenizer.EncodeWithOffsets(prompt + answer, addSpecialTokens: true);
        int[] ids = [.. tokens.Select(token => token.Id), end];
        int[] labels = [.. tokens.Select(token => token.End > prompt.Length ? token.Id : Ignored), end];
        if (prompt.Length == 0 && tokens is [{ Start: 0, End: 0 }, ..])
        {
            labels[0] = Ignored; // The first token is given, never predicted.
        }

        return Checked(new EncodedExample(ids, labels));
    }

    private EncodedExample Chat(ChatExample chat)
    {
        var variables = new JsonObject();
        if (chat.Tools is { } tools)
        {
            variables["tools"] = tools.DeepClone();
        }

        EncodedChat encoded = chats.Value.Encode(chat.Messages, variables);
        return Checked(new EncodedExample(encoded.Ids, [.. encoded.Ids.Select((id, i) => encoded.AssistantMask[i] ? id : Ignored)]));
    }

    private EncodedExample Checked(EncodedExample example)
    {
        int unknown = Array.FindIndex(example.InputIds, id => (uint)id >= (uint)vocabSize);
        if (unknown >= 0)
        {
            throw new FormatException($"has token {example.InputIds[unknown]}, but the model's vocabulary has {vocabSize}; tokenizer and model do not belong together");
        }

        int wrong = Array.FindIndex(example.Labels, label => label != Ignored && (uint)label >= (uint)vocabSize);
        return wrong < 0 ? example
            : throw new FormatException($"has label {example.Labels[wrong]}; expected {Ignored}, which is not learned, or 0 to {vocabSize - 1}");
    }
}
