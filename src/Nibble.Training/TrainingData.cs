using Nibble.Data;
using Nibble.Modeling.Configuration;
using Nibble.Modeling.Decoder;
using Nibble.Training.Batching;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Training;

/// <summary>The examples of a run.</summary>
/// <param name="Train">Those that are learned.</param>
/// <param name="Evaluation">Those that evaluate; may be none.</param>
/// <param name="Format">What the prompts of the former look like.</param>
internal sealed record RunExamples(IReadOnlyList<EncodedExample> Train, IReadOnlyList<EncodedExample> Evaluation, PromptFormat Format)
{
    /// <summary>The tokens that occur in them.</summary>
    public IReadOnlySet<int> Tokens() => Train.Concat(Evaluation).SelectMany(example => example.InputIds).ToHashSet();
}

/// <summary>Reads the examples of a run as the model will see them.</summary>
internal static class TrainingData
{
    /// <summary>Tokens of a sequence at most.</summary>
    public static int MaxLength(RunConfig config, DecoderConfig model) => Math.Min(config.Data.MaxLength, model.MaxPositionEmbeddings);

    public static RunExamples Load(RunConfig config, DecoderConfig model, ITrainingObserver observer)
    {
        DataSection data = config.Data;
        if (data.MaxLength > model.MaxPositionEmbeddings)
        {
            observer.Info($"data.max_length {data.MaxLength} is cut to the model's {model.MaxPositionEmbeddings} positions.");
        }

        NamedTemplate? template = data.ChatTemplate is { } name ? NamedTemplate.Find(name, "data.chat_template") : null;
        var encoder = new ExampleEncoder(config.Model, MaxLength(config, model), model.VocabSize, data.PromptFormat, template);
        PromptFormat format = encoder.FormatOf(DatasetReader.FormOf(data.Train, data.Format));
        List<EncodedExample> train = encoder.Read(data.Train, data.Format, observer);
        if (format.Template is not null)
        {
            observer.Info($"Prompts are {format}.");
        }

        if (data.Eval is { } path)
        {
            return new RunExamples(train, encoder.Read(path, data.Format, observer), format);
        }

        ILookup<bool, EncodedExample> sides = train.ToLookup(
            example => DatasetSplitter.IsEvaluation(string.Join(',', example.InputIds), data.EvalRatio, config.Seed));
        return sides.Contains(false)
            ? new RunExamples([.. sides[false]], [.. sides[true]], format)
            : throw new InvalidDataException($"data.eval_ratio {data.EvalRatio} takes all {train.Count} examples of {data.Train}; none is left to train on.");
    }
}
