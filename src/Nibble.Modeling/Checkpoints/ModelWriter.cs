using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Kernels;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Checkpoints;

/// <summary>Writes models as Hugging Face folders.</summary>
public static class ModelWriter
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };

    private static readonly string[] Companions =
    [
        "generation_config.json", "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
        "chat_template.jinja", "chat_template.json", "vocab.json", "merges.txt", "added_tokens.json",
    ];

    /// <summary>Names of the files of a model folder that describe it and are carried along unchanged.</summary>
    public static IEnumerable<string> CompanionsOf(string folder) =>
        Directory.GetFiles(folder).Select(path => Path.GetFileName(path)).Where(name => Companions.Contains(name) || name.EndsWith(".tiktoken", StringComparison.Ordinal));

    /// <summary>Whether a folder has a tokenizer.</summary>
    public static bool HasTokenizer(string folder) => HfTokenizer.FileOf(folder) is not null;

    /// <summary>Writes all weights in <paramref name="dtype"/>, with the configuration and tokenizer files of the folder the model came from.</summary>
    /// <param name="model">The model.</param>
    /// <param name="source">The folder it was loaded from.</param>
    /// <param name="folder">Must exist.</param>
    /// <param name="dtype">The dtype of the file.</param>
    /// <param name="linearWeight">Overrides how a linear layer's weight is taken, to merge an adapter; null for its plain values.</param>
    /// <param name="shardBytes">Bytes of weights in a file at most.</param>
    /// <param name="made">Says where each weight is taken from instead of the model; null for the model.</param>
    public static void Write(
        DecoderModel model, string source, string folder, ScalarType dtype, Func<LinearLayer, Tensor>? linearWeight = null, long shardBytes = ShardWriter.DefaultBytes,
        Func<TensorToWrite, TensorToWrite>? made = null)
    {
        ArgumentNullException.ThrowIfNull(model);
        List<TensorToWrite> tensors = [.. model.Weights(dtype, linearWeight).Select(made ?? (weight => weight))];
        ShardWriter.Write(folder, tensors, model.ParameterCount, shardBytes);
        CopyCompanions(source, folder);
        WriteConfig(source, folder, config =>
        {
            config.Remove("quantization_config");
            config[config.ContainsKey("dtype") ? "dtype" : "torch_dtype"] = DTypeNames.Of(dtype);
            if (!tensors.Exists(tensor => tensor.Name == "lm_head.weight"))
            {
                config["tie_word_embeddings"] = true;
            }
            else if (model.Config.TieWordEmbeddings)
            {
                config["tie_word_embeddings"] = false;
            }
        });
    }

    /// <summary>Writes a quantised model as bitsandbytes stores it.</summary>
    /// <param name="model">The model.</param>
    /// <param name="source">The folder it was loaded from.</param>
    /// <param name="folder">Must exist.</param>
    /// <param name="shardBytes">Bytes of weights in a file at most.</param>
    public static void WriteQuantized(DecoderModel model, string source, string folder, long shardBytes = ShardWriter.DefaultBytes)
    {
        ArgumentNullException.ThrowIfNull(model);
        using DisposeScope scope = NewDisposeScope();
        Dictionary<string, Nf4Weight> quantized = model.Linears.Where(linear => linear.Weight is Nf4Weight).ToDictionary(linear => linear.Name, linear => (Nf4Weight)linear.Weight);
        bool nested = quantized.Values.Any(weight => weight.NestedAbsmax is not null);
        IEnumerable<TensorToWrite> plain = model.Weights(model.ComputeDType).Where(tensor => !quantized.ContainsKey(tensor.Name.Replace(".weight", "", StringComparison.Ordinal)));
        IEnumerable<TensorToWrite> parts = quantized.SelectMany(item => Nf4Checkpoint.Parts(item.Key, item.Value, model.ComputeDType));
        ShardWriter.Write(folder, plain.Concat(parts), model.ParameterCount, shardBytes);
        CopyCompanions(source, folder);
        WriteConfig(source, folder, config =>
        {
            config[config.ContainsKey("dtype") ? "dtype" : "torch_dtype"] = DTypeNames.Of(model.ComputeDType);
            config["quantization_config"] = new JsonObject
            {
                ["quant_method"] = "bitsandbytes",
                ["load_in_4bit"] = true,
                ["load_in_8bit"] = false,
                ["bnb_4bit_quant_type"] = "nf4",
                ["bnb_4bit_use_double_quant"] = nested,
                ["bnb_4bit_compute_dtype"] = DTypeNames.Of(model.ComputeDType),
                ["bnb_4bit_quant_storage"] = "uint8",
            };
        });
    }

    /// <summary>Copies tokenizer and generation files from one folder to another.</summary>
    public static void CopyCompanions(string source, string folder)
    {
        foreach (string name in CompanionsOf(source))
        {
            AtomicFile.Copy(Path.Combine(source, name), Path.Combine(folder, name));
        }
    }

    /// <summary>Comes last: a folder without config.json is not taken for a model.</summary>
    private static void WriteConfig(string source, string folder, Action<JsonObject> change)
    {
        JsonObject config = JsonNode.Parse(File.ReadAllText(Path.Combine(source, "config.json")))!.AsObject();
        change(config);
        AtomicFile.WriteText(Path.Combine(folder, "config.json"), config.ToJsonString(Indented));
    }
}
