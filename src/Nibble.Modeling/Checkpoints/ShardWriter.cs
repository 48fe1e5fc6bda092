using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Nibble.Modeling.Checkpoints;

/// <summary>
/// Writes a model's weights as transformers does: <c>model.safetensors</c>, or where that would be too large
/// <c>model-00001-of-0000N.safetensors</c> and so on, with <c>model.safetensors.index.json</c>, which says what lies where. One tensor is
/// in memory at a time.
/// </summary>
internal static class ShardWriter
{
    /// <summary>Bytes of tensors in a file at most, 5 GB.</summary>
    public const long DefaultBytes = 5_000_000_000;

    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true, NewLine = "\n" };

    /// <summary>Names part by part between their dots: numbers by value and before words.</summary>
    private static readonly Comparer<string> ByPart = Comparer<string>.Create((a, b) =>
    {
        (string[] first, string[] second) = (a.Split('.'), b.Split('.'));
        return first.Zip(second, Compare).FirstOrDefault(order => order != 0, first.Length - second.Length);

        static int Compare(string left, string right) => (int.TryParse(left, CultureInfo.InvariantCulture, out int i), int.TryParse(right, CultureInfo.InvariantCulture, out int j)) switch
        {
            (true, true) => i.CompareTo(j),
            (true, false) => -1,
            (false, true) => 1,
            _ => string.CompareOrdinal(left, right),
        };
    });

    /// <summary>Writes the weights; the index comes last.</summary>
    /// <param name="folder">Must exist.</param>
    /// <param name="tensors">In any order; transformers sorts them by name, numbers in it by value.</param>
    /// <param name="parameters">Elements of the model, for the index.</param>
    /// <param name="shardBytes">Bytes of tensors in a file at most; one that is larger gets a file of its own.</param>
    public static void Write(string folder, IEnumerable<TensorToWrite> tensors, long parameters, long shardBytes)
    {
        List<List<TensorToWrite>> shards = Divide(tensors.OrderBy(tensor => tensor.Name, ByPart), shardBytes);
        if (shards.Count == 1)
        {
            SafetensorsWriter.Write(Path.Combine(folder, "model.safetensors"), shards[0]);
            return;
        }

        var holders = new SortedDictionary<string, string>(StringComparer.Ordinal);
        for (int i = 0; i < shards.Count; i++)
        {
            string file = string.Create(CultureInfo.InvariantCulture, $"model-{i + 1:00000}-of-{shards.Count:00000}.safetensors");
            SafetensorsWriter.Write(Path.Combine(folder, file), shards[i]);
            shards[i].ForEach(tensor => holders.Add(tensor.Name, file));
        }

        var index = new JsonObject
        {
            ["metadata"] = new JsonObject { ["total_parameters"] = parameters, ["total_size"] = shards.Sum(shard => shard.Sum(tensor => tensor.Bytes)) },
            ["weight_map"] = JsonSerializer.SerializeToNode(holders),
        };
        AtomicFile.WriteText(Path.Combine(folder, "model.safetensors.index.json"), index.ToJsonString(Indented) + "\n");
    }

    /// <summary>Fills one file after the other.</summary>
    private static List<List<TensorToWrite>> Divide(IEnumerable<TensorToWrite> tensors, long shardBytes)
    {
        var shards = new List<List<TensorToWrite>>();
        List<TensorToWrite> current = [];
        foreach (TensorToWrite tensor in tensors)
        {
            if (tensor.Bytes > shardBytes)
            {
                shards.Add([tensor]);
                continue;
            }

            if (current.Sum(item => item.Bytes) + tensor.Bytes > shardBytes)
            {
                shards.Add(current);
                current = [];
            }

            current.Add(tensor);
        }

        return current.Count > 0 ? [.. shards, current] : shards;
    }
}
