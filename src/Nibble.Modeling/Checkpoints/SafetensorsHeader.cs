using System.Buffers.Binary;
using System.Text.Json;

namespace Nibble.Modeling.Checkpoints;

/// <summary>A tensor in a safetensors file.</summary>
/// <param name="Name">Its name.</param>
/// <param name="DType">Its element type as the format spells it: F32, BF16, ...</param>
/// <param name="Shape">Its dimensions.</param>
/// <param name="Offset">Where its bytes begin, from the start of the file.</param>
/// <param name="Length">How many bytes it has.</param>
public sealed record SafetensorInfo(string Name, string DType, long[] Shape, long Offset, long Length);

/// <summary>
/// Reads and checks the header of a safetensors file before anything trusts it: eight bytes of length, then JSON that maps
/// names to dtype, shape and byte range; the ranges must tile the rest of the file exactly.
/// </summary>
internal static class SafetensorsHeader
{
    private const long LargestHeader = 100_000_000;

    /// <summary>Bits of one element, by the format's names.</summary>
    public static readonly IReadOnlyDictionary<string, int> BytesOf = new Dictionary<string, int>
    {
        ["BOOL"] = 1,
        ["U8"] = 1,
        ["I8"] = 1,
        ["F8_E4M3"] = 1,
        ["F8_E5M2"] = 1,
        ["I16"] = 2,
        ["U16"] = 2,
        ["F16"] = 2,
        ["BF16"] = 2,
        ["I32"] = 4,
        ["U32"] = 4,
        ["F32"] = 4,
        ["I64"] = 8,
        ["U64"] = 8,
        ["F64"] = 8,
    };

    public static (List<SafetensorInfo> Tensors, Dictionary<string, string> Metadata) Read(string path, Stream file)
    {
        InvalidDataException Invalid(string problem) => new($"{path}: {problem}; the file is damaged or not in safetensors format.");

        Span<byte> prefix = stackalloc byte[8];
        if (file.ReadAtLeast(prefix, 8, throwOnEndOfStream: false) < 8)
        {
            throw Invalid($"has {file.Length} bytes, too few for a header");
        }

        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length > LargestHeader || (long)length > file.Length - 8)
        {
            throw Invalid($"says its header has {length} bytes, but {file.Length - 8} follow (and at most {LargestHeader} are allowed)");
        }

        var bytes = new byte[length];
        file.ReadExactly(bytes);
        var metadata = new Dictionary<string, string>();
        var tensors = new List<SafetensorInfo>();
        try
        {
            using JsonDocument header = JsonDocument.Parse(bytes);
            if (header.RootElement.ValueKind != JsonValueKind.Object)
            {
                throw Invalid("has a header that is not a JSON object");
            }

            foreach (JsonProperty entry in header.RootElement.EnumerateObject())
            {
                if (entry.Name == "__metadata__")
                {
                    foreach (JsonProperty item in entry.Value.EnumerateObject())
                    {
                        metadata[item.Name] = item.Value.GetString() ?? "";
                    }
                }
                else
                {
                    tensors.Add(Entry(entry, 8 + (long)length, Invalid));
                }
            }
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
        {
            throw Invalid($"has a malformed header ({exception.Message})");
        }

        RequireTiling(tensors, 8 + (long)length, file.Length, Invalid);
        return (tensors, metadata);
    }

    private static SafetensorInfo Entry(JsonProperty entry, long dataStart, Func<string, InvalidDataException> invalid)
    {
        string dtype = entry.Value.GetProperty("dtype").GetString() ?? "";
        long[] shape = [.. entry.Value.GetProperty("shape").EnumerateArray().Select(size => size.GetInt64())];
        long[] range = [.. entry.Value.GetProperty("data_offsets").EnumerateArray().Select(offset => offset.GetInt64())];
        if (!BytesOf.TryGetValue(dtype, out int elementSize))
        {
            throw invalid($"has tensor '{entry.Name}' of unknown dtype '{dtype}'");
        }

        if (range.Length != 2 || range[0] < 0 || range[1] < range[0])
        {
            throw invalid($"has tensor '{entry.Name}' with the impossible byte range [{string.Join(", ", range)}]");
        }

        UInt128 needed = (UInt128)elementSize;
        foreach (long size in shape)
        {
            if (size < 0 || needed > long.MaxValue)
            {
                throw invalid($"has tensor '{entry.Name}' with the impossible shape [{string.Join(", ", shape)}]");
            }

            needed *= (UInt128)size;
        }

        return needed == (UInt128)(range[1] - range[0])
            ? new SafetensorInfo(entry.Name, dtype, shape, dataStart + range[0], range[1] - range[0])
            : throw invalid($"gives tensor '{entry.Name}' {range[1] - range[0]} bytes, but {dtype} [{string.Join(", ", shape)}] needs {needed}");
    }

    private static void RequireTiling(List<SafetensorInfo> tensors, long dataStart, long fileLength, Func<string, InvalidDataException> invalid)
    {
        if (tensors.GroupBy(tensor => tensor.Name).FirstOrDefault(group => group.Count() > 1) is { } twice)
        {
            throw invalid($"names tensor '{twice.Key}' twice");
        }

        long end = dataStart;
        foreach (SafetensorInfo tensor in tensors.OrderBy(tensor => tensor.Offset).ThenBy(tensor => tensor.Length))
        {
            if (tensor.Offset != end)
            {
                throw invalid($"has tensor '{tensor.Name}' at byte {tensor.Offset}, expected {end}: tensors overlap or leave a hole");
            }

            end = checked(tensor.Offset + tensor.Length);
        }

        if (end != fileLength)
        {
            throw invalid($"should have {end} bytes by its header, but has {fileLength}" + (end > fileLength ? " (truncated download?)" : ""));
        }
    }
}
