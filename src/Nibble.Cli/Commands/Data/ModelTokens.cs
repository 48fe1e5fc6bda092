using System.CommandLine;
using Nibble.Cli.Commands.Prompts;
using Nibble.Data;
using Nibble.Modeling.ChatTemplates;
using Nibble.Modeling.Configuration;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;
using Nibble.Training.Batching;

namespace Nibble.Cli.Commands.Data;

/// <summary>Examples as the tokens of a model, cut where training would cut them.</summary>
internal sealed class ModelTokens
{
    private readonly ExampleEncoder encoder;

    public ModelTokens(PromptWriting writing, int? maxLength)
    {
        DecoderConfig config = ConfigReader.Read(writing.Model);
        if (maxLength <= 0)
        {
            throw new UsageException($"--max-length is {maxLength}; it must be above 0.");
        }

        MaxLength = Math.Min(maxLength ?? 2048, config.MaxPositionEmbeddings);
        encoder = writing.Encoder(config, MaxLength);
        Tokenizer = CommonOptions.Tokenizer(writing.Model);
    }

    public int MaxLength { get; }

    public HfTokenizer Tokenizer { get; }

    public static Option<int?> MaxLengthOption() => new("--max-length") { Description = "Tokens of an example at most: by default 2048, and never more than the model's positions.", HelpName = "N" };

    /// <exception cref="InvalidDataException">The record does not fit the model; the message has file, line and reason.</exception>
    public EncodedExample Encode(string path, DatasetLine line)
    {
        try
        {
            return Encode(line.Record);
        }
        catch (FormatException exception)
        {
            throw new InvalidDataException($"{path}:{line.Line}: {exception.Message.TrimEnd('.')}.", exception);
        }
    }

    /// <exception cref="FormatException">The record does not fit the model.</exception>
    public EncodedExample Encode(DatasetRecord record)
    {
        try
        {
            return encoder.Encode(record);
        }
        catch (ChatTemplateException exception)
        {
            throw new FormatException(exception.Message, exception);
        }
    }
}
