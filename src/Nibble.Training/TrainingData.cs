using Nibble.Data;
using Nibble.Modeling.Configuration;
using Nibble.Modeling.Decoder;
using Nibble.Training.Batching;
using Nibble.Training.Configuration;

namespace Nibble.Training;

/// <summary>Reads the examples of a run as the model will see them.</summary>
internal static class TrainingData
{
    /// <summary>Tokens of a sequence at most.</summary>
    public static int MaxLength(RunConfig config, DecoderConfig model) => Math.Min(config.Data.MaxLength, model.MaxPositionEmbeddings);

    public static (IReadOnlyList<EncodedExample> Train, IReadOnlyList<EncodedExample> Evaluation) Load(
        RunConfig config, DecoderConfig model, ITrainingObserver observer)
    {
        if (config.Data.MaxLength > model.MaxPositionEmbeddings)
        {
            observer.Info($"data.max_length {config.Data.MaxLength} is cut to the model's {model.MaxPositionEmbeddings} positions.");
        }

        var encoder = new ExampleEncoder(config.Model, MaxLength(config, model), model.VocabSize);
        List<EncodedExample> train = encoder.Read(config.Data.Train, config.Data.Format, observer);
        if (config.Data.Eval is { } path)
        {
            return (train, encoder.Read(path, config.Data.Format, observer));
        }

        ILookup<bool, EncodedExample> sides = train.ToLookup(
            example => DatasetSplitter.IsEvaluation(string.Join(',', example.InputIds), config.Data.EvalRatio, config.Seed));
        return sides.Contains(false)
            ? ([.. sides[false]], [.. sides[true]])
            : throw new InvalidDataException($"data.eval_ratio {config.Data.EvalRatio} takes all {train.Count} examples of {config.Data.Train}; none is left to train on.");
    }
}
