using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Configuration;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>Initial weights of a model that is trained from nothing.</summary>
public static class RandomWeights
{
    /// <summary>
    /// Completes a folder that holds a config.json: matrices from N(0, 0.02²), norms of ones and biases of zeros, as Hugging Face
    /// initialises Llama.
    /// </summary>
    /// <param name="folder">Receives model.safetensors.</param>
    /// <param name="seed">Decides the values.</param>
    /// <param name="dtype">As what they are stored.</param>
    public static void Write(string folder, ulong seed, ScalarType dtype = ScalarType.Float32)
    {
        using var random = new Generator(seed, CPU);
        SafetensorsWriter.Write(Path.Combine(folder, "model.safetensors"), [.. WeightShapes.Of(ConfigReader.Read(folder)).Select(item => new TensorToWrite(
            item.Name, dtype, item.Shape, () => Initial(item.Name, item.Shape, random, dtype)))]);
    }

    private static Tensor Initial(string name, long[] shape, Generator random, ScalarType dtype)
    {
        using DisposeScope scope = NewDisposeScope();
        using Scalar deviation = 0.02; // Named, or the collector may free it while libtorch reads it.
        Tensor values = shape.Length == 2 ? randn(shape, generator: random).mul_(deviation)
            : name.EndsWith(".bias", StringComparison.Ordinal) ? zeros(shape)
            : ones(shape);
        return values.to(dtype).MoveToOuterDisposeScope();
    }
}
