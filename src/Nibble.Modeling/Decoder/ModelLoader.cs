using Nibble.Kernels.Runtime;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Configuration;
using static TorchSharp.torch;

namespace Nibble.Modeling.Decoder;

/// <summary>Loads a Hugging Face folder into a decoder.</summary>
public static class ModelLoader
{
    /// <summary>Reads config.json and the weights, tensor by tensor.</summary>
    /// <param name="folder">The model folder.</param>
    /// <param name="options">Dtype and quantisation.</param>
    /// <exception cref="InvalidDataException">The folder is damaged, inconsistent or not supported; the message says what and where.</exception>
    /// <exception cref="DllNotFoundException">There is no libtorch.</exception>
    public static DecoderModel Load(string folder, LoadOptions? options = null)
    {
        LibTorch.EnsureLoaded();
        options ??= new LoadOptions();
        DecoderConfig config = ConfigReader.Read(folder);
        using CheckpointTensors checkpoint = CheckpointTensors.Open(folder);
        ScalarType dtype = options.DType ?? config.StoredDType ?? ScalarType.Float32;
        using IDisposable noGrad = no_grad();
        var parts = new DecoderParts(checkpoint, dtype, options, config.IsQuantized);
        var model = new DecoderModel(config, dtype, parts);
        try
        {
            parts.RequireAllUsed(config.TieWordEmbeddings);
        }
        catch
        {
            model.Dispose();
            throw;
        }

        return model;
    }

    /// <summary>The values of a weight that was deferred when the model was loaded, as they would have been read then; the caller's.</summary>
    /// <param name="checkpoint">The model's folder.</param>
    /// <param name="model">The model.</param>
    /// <param name="weight">One of its parameters.</param>
    /// <exception cref="InvalidDataException">It has values that are not finite.</exception>
    public static Tensor ReadDeferred(CheckpointTensors checkpoint, DecoderModel model, Parameter weight)
    {
        ArgumentNullException.ThrowIfNull(checkpoint);
        ArgumentNullException.ThrowIfNull(model);
        ArgumentNullException.ThrowIfNull(weight);
        using IDisposable noGrad = no_grad();
        return checkpoint.Read(weight.Name, weight.Name.EndsWith("norm.weight", StringComparison.Ordinal) ? ScalarType.Float32 : model.ComputeDType, weight.Value.shape);
    }
}
