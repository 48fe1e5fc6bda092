using Nibble.Kernels;
using Nibble.Modeling.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>Makes a decoder's parts from a checkpoint, one tensor at a time, and checks that each is what the configuration says.</summary>
internal sealed class DecoderParts(CheckpointTensors checkpoint, ScalarType computeDType, LoadOptions options, bool storedInNf4)
{
    private readonly HashSet<string> used = [];
    private uint linears;

    /// <summary>The embedding, or the head's weight.</summary>
    public Tensor Embedding(string path, int rows, int columns) => Deferred(path, "weight", options.DeferredVocabulary, rows, columns) ?? Matrix($"{path}.weight", rows, columns);

    public NormLayer Norm(string path, int size, float epsilon) =>
        new(path, Deferred(path, "weight", ScalarType.Float32, size) ?? Read($"{path}.weight", ScalarType.Float32, size), epsilon);

    /// <summary>A linear layer of the decoder layers: quantised when asked for, or when stored so.</summary>
    public LinearLayer Linear(string path, int rows, int columns, bool hasBias)
    {
        Tensor? bias = hasBias ? Deferred(path, "bias", computeDType, rows) ?? Read($"{path}.bias", computeDType, rows) : null;
        if (Deferred(path, "weight", computeDType, rows, columns) is { } placeholder)
        {
            return new LinearLayer(path, ++linears, new DenseWeight(placeholder), bias);
        }

        LinearWeight weight = storedInNf4 && Nf4Checkpoint.Contains(checkpoint, path)
            ? Nf4Checkpoint.Read(checkpoint, path, rows, columns, options.Device ?? CPU, used)
            : Quantized(path, rows, columns) ?? (LinearWeight)new DenseWeight(Matrix($"{path}.weight", rows, columns));
        return new LinearLayer(path, ++linears, weight, bias);
    }

    /// <summary>The output head, which stays dense as in the peers.</summary>
    public LinearLayer Head(string path, int rows, int columns) =>
        new(path, 0, new DenseWeight(Embedding(path, rows, columns)), bias: null);

    /// <summary>Refuses a checkpoint with weights that the model has no place for.</summary>
    public void RequireAllUsed(bool tiedHead)
    {
        List<string> unused =
        [
            .. checkpoint.Names.Where(name => !used.Contains(name)
                && !name.EndsWith(".rotary_emb.inv_freq", StringComparison.Ordinal)
                && !(tiedHead && name == "lm_head.weight")),
        ];
        if (unused.Count > 0)
        {
            throw new InvalidDataException(
                $"{checkpoint.Location}: {unused.Count} tensors have no place in this architecture, the first is '{unused[0]}'; config.json and weights do not belong together.");
        }
    }

    private Tensor Matrix(string name, int rows, int columns) => Read(name, computeDType, rows, columns);

    /// <summary>A placeholder of the dtype that the weight has while it is trained; null for a weight that is read now.</summary>
    private Tensor? Deferred(string path, string part, ScalarType dtype, params long[] shape)
    {
        if (options.Deferred?.Invoke(path) != true)
        {
            return null;
        }

        string name = $"{path}.{part}";
        checkpoint.Require(name, shape);
        used.Add(name);
        return Placeholder.Of(shape, dtype).DetachFromDisposeScope().requires_grad_();
    }

    private Nf4Weight? Quantized(string path, int rows, int columns)
    {
        if (!options.QuantizeNf4)
        {
            return null;
        }

        // bitsandbytes quantises the checkpoint's values after their cast to the compute dtype.
        using Tensor values = Matrix($"{path}.weight", rows, columns);
        Nf4Weight quantized = Nf4.Quantize(values, options.DoubleQuantize);
        checkpoint.Release($"{path}.weight");
        return quantized;
    }

    private Tensor Read(string name, ScalarType dtype, params long[] shape)
    {
        Tensor value = checkpoint.Read(name, dtype, shape);
        used.Add(name);
        options.Progress?.Invoke(used.Count, checkpoint.Names.Count);
        if (options.Device is null or { type: DeviceType.CPU })
        {
            return value;
        }

        using (value)
        {
            return value.to(options.Device).DetachFromDisposeScope();
        }
    }
}
