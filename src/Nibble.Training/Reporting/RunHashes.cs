using System.Security.Cryptography;
using System.Text;
using Nibble.Modeling.Checkpoints;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Training.Reporting;

/// <summary>SHA-256 of all that a run read and of the weights that it wrote, in hexadecimal.</summary>
/// <param name="Model">Of the base model's weights, configuration and tokenizer, by file name.</param>
/// <param name="Inputs">Of the other files, by the configuration key that names them.</param>
/// <param name="Weights">Of the weights that the run wrote, by file name.</param>
public sealed record RunHashes(
    IReadOnlyDictionary<string, string> Model, IReadOnlyDictionary<string, string> Inputs, IReadOnlyDictionary<string, string> Weights)
{
    private const string AdapterWeights = "adapter_model.safetensors";

    /// <summary>One hash for the base model's weights.</summary>
    public string Base => Joined(Model.Where(file => Path.GetExtension(file.Key) == ".safetensors"));

    /// <summary>One hash for the weights that the run wrote: the adapter's version.</summary>
    public string Adapter => Joined(Weights);

    /// <summary>Hashes the files of a run that is done.</summary>
    public static RunHashes Of(RunConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        return new RunHashes(ModelOf(config), InputsOf(config), ByName(WeightsOf(config.OutputDir)));
    }

    /// <summary>One hash for the weights of an adapter's or a model's folder: that of the file, or of a list of the files' hashes.</summary>
    /// <exception cref="InvalidDataException">The folder has no weights.</exception>
    public static string OfWeights(string folder) => Joined(ByName(WeightsOf(folder)));

    /// <summary>Makes sure that a run of <paramref name="config"/> reads what the run with these hashes read.</summary>
    /// <exception cref="InvalidDataException">A file is another one or missing; the message names it.</exception>
    public void Require(RunConfig config)
    {
        ArgumentNullException.ThrowIfNull(config);
        Dictionary<string, string> paths = Model.ToDictionary(file => file.Key, file => Path.Combine(config.Model, file.Key));
        foreach ((string key, string path) in PathsOf(config))
        {
            paths[key] = path;
        }

        foreach ((string key, string expected) in Model.Concat(Inputs))
        {
            string? found = paths.TryGetValue(key, out string? path) && File.Exists(path) ? OfFile(path) : null;
            if (found != expected)
            {
                throw new InvalidDataException($"{path ?? key} {(found is null ? "does not exist" : $"has changed: its SHA-256 is {found}")}; the run read one with {expected}.");
            }
        }
    }

    private static Dictionary<string, string> ModelOf(RunConfig config)
    {
        IEnumerable<string> described = ModelWriter.CompanionsOf(config.Model).Append("config.json").Select(name => Path.Combine(config.Model, name));
        return ByName(WeightFiles(config.Model).Concat(described).Where(File.Exists));
    }

    private static Dictionary<string, string> InputsOf(RunConfig config) => PathsOf(config).ToDictionary(input => input.Key, input => OfFile(input.Path));

    private static IEnumerable<(string Key, string Path)> PathsOf(RunConfig config)
    {
        yield return ("data.train", config.Data.Train);
        if (config.Data.Eval is { } eval)
        {
            yield return ("data.eval", eval);
        }

        if (config.Data.ChatTemplate is { } template and not NamedTemplate.Roles)
        {
            yield return ("data.chat_template", template);
        }

        if (config.Lora.InitAdapter is { } initial && config.Method != Method.Full)
        {
            yield return ("lora.init_adapter", Path.Combine(initial, AdapterWeights));
        }
    }

    private static List<string> WeightsOf(string folder) =>
        File.Exists(Path.Combine(folder, AdapterWeights)) ? [Path.Combine(folder, AdapterWeights)] : WeightFiles(folder);

    private static List<string> WeightFiles(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new InvalidDataException($"{folder} is not a folder.");
        }

        using CheckpointTensors checkpoint = CheckpointTensors.Open(folder);
        return [.. checkpoint.Files];
    }

    private static Dictionary<string, string> ByName(IEnumerable<string> files) => files.ToDictionary(file => Path.GetFileName(file), OfFile);

    private static string Joined(IEnumerable<KeyValuePair<string, string>> files) => files.OrderBy(file => file.Key, StringComparer.Ordinal).ToList() switch
    {
        [var single] => single.Value,
        var several => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(string.Concat(several.Select(file => $"{file.Value}  {file.Key}\n"))))),
    };

    /// <summary>The hash of a file.</summary>
    public static string OfFile(string path)
    {
        using FileStream stream = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }
}
