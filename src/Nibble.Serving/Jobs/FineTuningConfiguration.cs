using System.Text.Json;
using Nibble.Modeling.Tokenizers;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Serving.Jobs;

/// <summary>Makes the configuration of a run from a request in OpenAI's shape: an adapter over a base model in NF4, over which it is served as well.</summary>
internal static class FineTuningConfiguration
{
    private const int MostMetadata = 16;
    private const int LongestKey = 64;
    private const int LongestValue = 512;
    private const int LongestSuffix = 64;
    private const int MostEpochs = 1000;
    private const int LargestBatch = 1024;

    /// <summary>Sequences that are computed together; a batch is made of several where it has more.</summary>
    private const int LargestMicroBatch = 4;

    /// <summary>The learning rate that a multiplier multiplies.</summary>
    public static double LearningRate => new TrainingSection().LearningRate;

    /// <summary>A valid configuration.</summary>
    /// <param name="request">The request.</param>
    /// <param name="model">The base model's folder.</param>
    /// <param name="output">The folder to write.</param>
    /// <param name="training">The path of the training file.</param>
    /// <param name="validation">Of the other, if there is one.</param>
    /// <exception cref="FieldException">A field of the request cannot be accepted.</exception>
    public static RunConfig Of(FineTuningRequest request, string model, string output, string training, string? validation)
    {
        Require(request);
        var standard = new TrainingSection();
        FineTuningRequest.HyperparametersOf chosen = request.Chosen;
        int batch = (int)(Number("batch_size", chosen.BatchSize, 1, LargestBatch, whole: true) ?? standard.PerDeviceTrainBatchSize * standard.GradientAccumulationSteps);
        int micro = Enumerable.Range(1, LargestMicroBatch).Last(size => batch % size == 0);
        return new RunConfig
        {
            Model = model,
            Method = Method.Qlora,
            OutputDir = output,
            Seed = (ulong)(request.Seed ?? (long)new RunConfig().Seed),
            // A batch is one of examples, which joined examples are not.
            Data = new DataSection { Train = training, Eval = validation, Packing = false, ChatTemplate = HasTemplate(model) ? null : NamedTemplate.Roles },
            Training = standard with
            {
                NumTrainEpochs = Number("n_epochs", chosen.NEpochs, 1, MostEpochs, whole: true) ?? standard.NumTrainEpochs,
                PerDeviceTrainBatchSize = micro,
                GradientAccumulationSteps = batch / micro,
                LearningRate = LearningRate * (Number("learning_rate_multiplier", chosen.LearningRateMultiplier, 0, double.MaxValue, whole: false) ?? 1),
                LoggingSteps = 1,
                ReportSamples = 0,
            },
        }.Validated();
    }

    private static void Require(FineTuningRequest request)
    {
        Require(request.Method is null or { Type: "supervised" }, "method.type", $"is '{request.Method?.Type}'; supervised is supported");
        Require(request.Integrations is null or { Count: 0 }, "integrations", "are not supported");
        Require(request.Seed is null or >= 0, "seed", $"is {request.Seed}; it must be zero or positive");
        Require(
            request.Suffix is null || (request.Suffix.Length is > 0 and <= LongestSuffix && request.Suffix.All(letter => char.IsAsciiLetterOrDigit(letter) || letter is '-' or '_' or '.')),
            "suffix", $"must have 1 to {LongestSuffix} letters, digits, '-', '_' or '.'");
        Require(
            request.Metadata is null || (request.Metadata.Count <= MostMetadata && request.Metadata.All(item => item.Key.Length <= LongestKey && item.Value?.Length <= LongestValue)),
            "metadata", $"must have at most {MostMetadata} texts of at most {LongestValue} characters, with keys of at most {LongestKey}");
    }

    /// <summary>Null for what is left to the service.</summary>
    private static double? Number(string name, JsonElement? value, double least, double most, bool whole) => value switch
    {
        null or { ValueKind: JsonValueKind.Null } => null,
        { ValueKind: JsonValueKind.String } text when text.GetString() == "auto" => null,
        { ValueKind: JsonValueKind.Number } number when number.TryGetDouble(out double found) && found >= least && found > 0 && found <= most && (!whole || double.IsInteger(found)) => found,
        { } other => throw new FieldException(name, $"is {other.GetRawText()}; it must be auto or a {(whole ? $"whole number from {least} to {most}" : "positive number")}"),
    };

    private static bool HasTemplate(string model)
    {
        try
        {
            return HfTokenizer.FromPretrained(model).ChatTemplate is not null;
        }
        catch (InvalidDataException exception)
        {
            throw new FieldException("model", $"cannot be used: {exception.Message}");
        }
    }

    private static void Require(bool condition, string field, string problem)
    {
        if (!condition)
        {
            throw new FieldException(field, problem);
        }
    }
}
