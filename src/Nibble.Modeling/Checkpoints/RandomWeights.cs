using static TorchSharp.torch;

namespace Nibble.Modeling.Checkpoints;

/// <summary>Initial weights of a model that is trained from nothing.</summary>
public static class RandomWeights
{
    /// <summary>Writes matrices from N(0, 0.02²) and vectors of ones, in float32, as Hugging Face initialises Llama.</summary>
    public static void Write(string path, IEnumerable<(string Name, long[] Shape)> shapes, ulong seed)
    {
        using var random = new Generator(seed, CPU);
        SafetensorsWriter.Write(path, [.. shapes.Select(item => new TensorToWrite(
            item.Name, ScalarType.Float32, item.Shape,
            () => item.Shape.Length == 1 ? ones(item.Shape) : randn(item.Shape, generator: random).mul_(0.02)))]);
    }
}
