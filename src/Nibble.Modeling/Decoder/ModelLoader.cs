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
    public static DecoderModel Load(string folder, LoadOptions? options = null)
    {
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
}
