using Nibble.Modeling.Configuration;
using Nibble.Training;
using Nibble.Training.Configuration;

namespace Nibble.Serving.Chat;

/// <summary>What a base model with an adapter needs to chat.</summary>
internal static class ChatMemory
{
    /// <summary>Tokens of a conversation and its answer, if the model can read so many.</summary>
    public const int LongestContext = 8192;

    /// <summary>An adapter that is taken to be as large as any.</summary>
    private const int LargestRank = 64;

    /// <summary>Bytes: the weights in NF4, an adapter, keys and values of the longest conversation, and what one layer needs to read it.</summary>
    /// <exception cref="InvalidDataException">The folder holds no model that can be used.</exception>
    public static long Of(string folder, bool gpu)
    {
        DecoderConfig model = ConfigReader.Read(folder);
        var run = new RunConfig { Model = folder, Method = Method.Qlora, Data = new DataSection { MaxLength = LongestContext } };
        run = run with { Training = run.Training with { PerDeviceTrainBatchSize = 1 }, Lora = run.Lora with { R = LargestRank } };
        var estimate = MemoryEstimate.Of(run, model, gpu);
        long tokens = Math.Min(LongestContext, model.MaxPositionEmbeddings);
        const long Copies = 2; // The cache is copied where it grows.
        long cache = Copies * tokens * model.NumHiddenLayers * 2L * model.NumKeyValueHeads * model.HeadDim * 2;
        return estimate.Weights + estimate.TrainedParameters + estimate.Layer + estimate.Workspace + estimate.Runtime + cache;
    }
}
