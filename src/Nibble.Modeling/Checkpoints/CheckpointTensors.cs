using System.Text.Json;
using System.Text.Json.Nodes;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Modeling.Checkpoints;

/// <summary>The weights of a model folder: one safetensors file, or shards with an index.</summary>
public sealed class CheckpointTensors : IDisposable
{
    /// <summary>Elements that are checked at a time: their temporaries must not outgrow the weights.</summary>
    private const long CheckedAtOnce = 1 << 24;

    private const string Single = "model.safetensors";
    private const string Index = "model.safetensors.index.json";

    private readonly Dictionary<string, SafetensorsFile> files = [];
    private readonly Dictionary<string, SafetensorsFile> holders = [];

    private CheckpointTensors(string location) => Location = location;

    /// <summary>The folder.</summary>
    public string Location { get; }

    /// <summary>All tensor names.</summary>
    public IReadOnlyCollection<string> Names => holders.Keys;

    /// <summary>The files that hold the weights.</summary>
    public IEnumerable<string> Files => files.Values.Select(file => file.Path);

    /// <summary>Opens the weights of a folder.</summary>
    /// <exception cref="InvalidDataException">They are missing, damaged, or in a format that can run code when read.</exception>
    public static CheckpointTensors Open(string folder)
    {
        var checkpoint = new CheckpointTensors(folder);
        try
        {
            if (File.Exists(Path.Combine(folder, Index)))
            {
                checkpoint.OpenShards(Path.Combine(folder, Index));
            }
            else if (File.Exists(Path.Combine(folder, Single)))
            {
                checkpoint.OpenFile(Single);
                checkpoint.holders.EnsureCapacity(checkpoint.files[Single].Tensors.Count);
                foreach (string name in checkpoint.files[Single].Tensors.Keys)
                {
                    checkpoint.holders.Add(name, checkpoint.files[Single]);
                }
            }
            else
            {
                throw Missing(folder);
            }
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }

        return checkpoint;
    }

    /// <summary>Whether there is a tensor of this name.</summary>
    public bool Contains(string name) => holders.ContainsKey(name);

    /// <summary>A weight in the wanted dtype; a view of the file where it already has it.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="dtype">float32, bfloat16 or float16.</param>
    /// <param name="shape">What the configuration says its shape is.</param>
    /// <exception cref="InvalidDataException">It is missing, of another shape, not floating-point, or has values that are not finite.</exception>
    public Tensor Read(string name, ScalarType dtype, params long[] shape)
    {
        Require(name, shape);
        using DisposeScope scope = NewDisposeScope();
        Tensor value = View(name).to(dtype);
        if (!IsFinite(value))
        {
            throw new InvalidDataException($"{holders[name].Path}: '{name}' has values that are NaN or infinite in {dtype}; the checkpoint is damaged.");
        }

        Release(name); // What is needed of a view comes back: of an embedding, rows; of a weight that is quantised now, once.
        return value.DetachFromDisposeScope();
    }

    /// <summary>Checks what a file's header says of a weight.</summary>
    /// <exception cref="InvalidDataException">It is missing, of another shape, or not floating-point.</exception>
    public void Require(string name, params long[] shape)
    {
        using Tensor stored = View(name);
        if (!stored.shape.SequenceEqual(shape))
        {
            throw new InvalidDataException(
                $"{holders[name].Path}: '{name}' has shape [{string.Join(", ", stored.shape)}], but config.json makes it [{string.Join(", ", shape)}].");
        }

        if (!stored.is_floating_point())
        {
            throw new InvalidDataException($"{holders[name].Path}: '{name}' is {holders[name].Tensors[name].DType}, expected F32, BF16 or F16.");
        }
    }

    /// <summary>A tensor as it is stored, without a copy.</summary>
    /// <exception cref="InvalidDataException">There is none of this name.</exception>
    public Tensor View(string name) =>
        holders.TryGetValue(name, out SafetensorsFile? file)
            ? file.View(name)
            : throw new InvalidDataException($"{Location}: the weights have no tensor '{name}', which config.json asks for.");

    /// <summary>Gives back the memory that reading a tensor took; views of it stay valid and read the file again.</summary>
    public void Release(string name) => holders[name].Release(name);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (SafetensorsFile file in files.Values)
        {
            file.Dispose();
        }
    }

    private static bool IsFinite(Tensor value)
    {
        Tensor flat = value.view(-1);
        for (long first = 0; first < flat.NumberOfElements; first += CheckedAtOnce)
        {
            using DisposeScope scope = NewDisposeScope();
            if (!flat.narrow(0, first, Math.Min(CheckedAtOnce, flat.NumberOfElements - first)).isfinite().all().item<bool>())
            {
                return false;
            }
        }

        return true;
    }

    private static InvalidDataException Missing(string folder)
    {
        string? pickled = Directory.EnumerateFiles(folder).Select(Path.GetFileName)
            .FirstOrDefault(name => Path.GetExtension(name) is ".bin" or ".pt" or ".pth" or ".ckpt");
        return new InvalidDataException(pickled is null
            ? $"{folder} has neither {Single} nor {Index}."
            : $"{folder} has its weights only as {pickled}, a pickle, which can run code when it is read; convert it to safetensors first.");
    }

    private void OpenShards(string indexPath)
    {
        Dictionary<string, string> map;
        try
        {
            map = JsonNode.Parse(File.ReadAllText(indexPath))?["weight_map"].Deserialize<Dictionary<string, string>>()
                ?? throw new InvalidDataException($"{indexPath} has no 'weight_map'.");
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{indexPath} is not a valid index: {exception.Message}", exception);
        }

        foreach ((string name, string file) in map)
        {
            if (Path.GetFileName(file) != file)
            {
                throw new InvalidDataException($"{indexPath} puts '{name}' into '{file}', which lies outside the folder.");
            }

            SafetensorsFile shard = files.GetValueOrDefault(file) ?? OpenFile(file);
            holders[name] = shard.Tensors.ContainsKey(name)
                ? shard
                : throw new InvalidDataException($"{indexPath} puts '{name}' into {file}, which does not have it.");
        }
    }

    private SafetensorsFile OpenFile(string name)
    {
        SafetensorsFile file = SafetensorsFile.Open(Path.Combine(Location, name));
        files.Add(name, file);
        return file;
    }
}
