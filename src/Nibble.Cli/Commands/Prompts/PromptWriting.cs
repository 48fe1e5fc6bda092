using Nibble.Data;
using Nibble.Modeling.Configuration;
using Nibble.Modeling.Tokenizers;
using Nibble.Training.Batching;
using Nibble.Training.Prompts;

namespace Nibble.Cli.Commands.Prompts;

/// <summary>
/// How a command writes prompts: as its options say, else as the model was trained. What contradicts the training is refused or
/// warned of; a folder that says nothing about its training, as those of other programs, allows everything.
/// </summary>
internal sealed class PromptWriting
{
    private readonly string source;
    private readonly PromptFormat? trained;
    private readonly PromptStyle? style;
    private readonly NamedTemplate? template;

    /// <param name="model">The model's folder.</param>
    /// <param name="adapter">The adapter's, whose training then counts; may be null.</param>
    /// <param name="style">What was asked for; null: as trained.</param>
    /// <param name="template">The name of the template that was asked for; null: as trained.</param>
    /// <exception cref="UsageException">The model was trained with another template.</exception>
    public PromptWriting(string model, string? adapter, PromptStyle? style, string? template)
    {
        Model = model;
        this.style = style;
        source = adapter ?? model;
        trained = PromptFormat.Read(source);
        NamedTemplate? asked = template is null ? null : NamedTemplate.Find(template, "--chat-template");
        if (asked is not null && trained?.Template is { } learned && learned.Sha256 != asked.Sha256)
        {
            throw new UsageException($"{source} was trained with {learned}, not with {asked}; leave --chat-template out.");
        }

        this.template = asked ?? trained?.Template;
    }

    /// <summary>The model's folder.</summary>
    public string Model { get; }

    private PromptStyle Style => style ?? trained?.Style ?? PromptStyle.Auto;

    /// <summary>The template of chats.</summary>
    /// <exception cref="InvalidDataException">None was chosen, and the model has none.</exception>
    public NamedTemplate TemplateFor(HfTokenizer tokenizer) => template ?? NamedTemplate.Own(tokenizer, Model);

    /// <summary>Encodes records so.</summary>
    /// <param name="config">The model's.</param>
    /// <param name="maxLength">Tokens of an example at most.</param>
    public ExampleEncoder Encoder(DecoderConfig config, int maxLength) => new(Model, maxLength, config.VocabSize, Style, template);

    /// <summary>What decides how records are written.</summary>
    public override string ToString() => template is null ? $"{Style}" : $"{Style}, {template}";

    /// <summary>What an instruction becomes: an Alpaca prompt or a chat. Warns where that is not what the model was trained on.</summary>
    /// <exception cref="UsageException">The model was trained on neither, and none was asked for.</exception>
    public DatasetFormat KindOfInstruction()
    {
        DatasetFormat kind = style is { } asked ? PromptFormat.KindOf(DatasetFormat.Alpaca, asked)
            : trained?.Kind is DatasetFormat.Alpaca or DatasetFormat.Chat ? trained.Kind
            : throw new UsageException(
                $"{source} {(trained is null ? "does not say on which prompts it was trained" : $"was trained on {trained}")}, so --instruction needs --prompt-format alpaca or chat.");
        Warn(kind, "--prompt-format gives", "");
        return kind;
    }

    /// <summary>Warns where the records of a file, of which the first tells, become other prompts than the model was trained on.</summary>
    public void WarnOfData(string path, DatasetReadOptions options)
    {
        if (trained is not null && DatasetReader.ReadLines(path, options with { OnBadLine = options.OnBadLine is null ? null : _ => { } }).FirstOrDefault() is { } first)
        {
            string advice = trained.Kind is DatasetFormat.Alpaca or DatasetFormat.Chat ? $"; --prompt-format {trained.Kind.ToString().ToLowerInvariant()} may turn them into such" : "";
            Warn(PromptFormat.KindOf(DatasetFormatter.FormOf(first.Record), Style), $"the records of {path} become", advice);
        }
    }

    /// <summary>Warns where a prompt is another than the model was trained on.</summary>
    /// <param name="kind">What the prompt is.</param>
    /// <param name="option">What gave it.</param>
    public void WarnOfPrompt(DatasetFormat kind, string option) => Warn(
        kind,
        $"{option} gives",
        trained?.Kind switch
        {
            DatasetFormat.Alpaca => "; --instruction writes such a prompt",
            DatasetFormat.Chat => "; --instruction or --messages writes such a prompt",
            _ => "",
        });

    private void Warn(DatasetFormat kind, string what, string advice)
    {
        if (trained?.IsLike(kind) == false)
        {
            Console.Error.WriteLine($"warning: {source} was trained on {trained}, but {what} {PromptFormat.Describe(kind)}{advice}.");
        }
    }
}
