using System.Buffers.Binary;
using System.Text;
using System.Text.Json;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Modeling.Checkpoints;

/// <summary>Writes safetensors files: the header first, then one tensor after another, so that memory holds one at a time.</summary>
public static class SafetensorsWriter
{
    /// <summary>Writes a file in one piece or not at all.</summary>
    /// <param name="path">The file.</param>
    /// <param name="tensors">Name, dtype and shape of each, with a function that makes the tensor when its turn comes; it is disposed after.</param>
    /// <exception cref="IOException">The disk is full or not writable; a previous file is untouched.</exception>
    public static void Write(string path, IReadOnlyList<TensorToWrite> tensors)
    {
        ArgumentNullException.ThrowIfNull(tensors);
        AtomicFile.Write(path, stream =>
        {
            WriteHeader(stream, tensors);
            foreach (TensorToWrite item in tensors)
            {
                using Tensor value = item.Make();
                using Tensor host = value.cpu();
                using Tensor contiguous = host.contiguous();
                if (contiguous.dtype != item.DType || !contiguous.shape.SequenceEqual(item.Shape))
                {
                    throw new InvalidOperationException($"Tensor '{item.Name}' is not what its header says.");
                }

                TensorMemory.Write(contiguous, stream);
            }
        });
    }

    /// <summary>Writes tensors that exist already; they stay the caller's.</summary>
    public static void Write(string path, IEnumerable<KeyValuePair<string, Tensor>> tensors) =>
        Write(path, [.. tensors.Select(TensorToWrite.Of)]);

    private static void WriteHeader(Stream stream, IReadOnlyList<TensorToWrite> tensors)
    {
        using var json = new MemoryStream();
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            writer.WriteStartObject("__metadata__");
            writer.WriteString("format", "pt");
            writer.WriteEndObject();
            long offset = 0;
            foreach (TensorToWrite tensor in tensors)
            {
                writer.WriteStartObject(tensor.Name);
                writer.WriteString("dtype", NameOf(tensor.DType));
                WriteNumbers(writer, "shape", tensor.Shape);
                WriteNumbers(writer, "data_offsets", [offset, offset + tensor.Bytes]);
                writer.WriteEndObject();
                offset += tensor.Bytes;
            }

            writer.WriteEndObject();
        }

        // Spaces up to a multiple of eight keep every element aligned for those who map the file.
        json.Write(Encoding.ASCII.GetBytes(new string(' ', (int)((8 - (json.Length % 8)) % 8))));
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        stream.Write(length);
        stream.Write(json.GetBuffer(), 0, (int)json.Length);
    }

    private static void WriteNumbers(Utf8JsonWriter writer, string name, IEnumerable<long> numbers)
    {
        writer.WriteStartArray(name);
        foreach (long number in numbers)
        {
            writer.WriteNumberValue(number);
        }

        writer.WriteEndArray();
    }

    private static string NameOf(ScalarType dtype) => dtype switch
    {
        ScalarType.Float64 => "F64",
        ScalarType.Float32 => "F32",
        ScalarType.Float16 => "F16",
        ScalarType.BFloat16 => "BF16",
        ScalarType.Int64 => "I64",
        ScalarType.Byte => "U8",
        _ => throw new ArgumentException($"Tensors of {dtype} are not written to safetensors files."),
    };
}

/// <summary>A tensor that a file will hold.</summary>
/// <param name="Name">Its name.</param>
/// <param name="DType">Its element type.</param>
/// <param name="Shape">Its dimensions.</param>
/// <param name="Make">Makes it when it is written.</param>
public sealed record TensorToWrite(string Name, ScalarType DType, long[] Shape, Func<Tensor> Make)
{
    /// <summary>One that exists already; it stays the caller's.</summary>
    public static TensorToWrite Of(KeyValuePair<string, Tensor> item) => new(item.Key, item.Value.dtype, item.Value.shape, () => item.Value.detach());

    /// <summary>Its size in the file.</summary>
    public long Bytes => Shape.Aggregate(TensorMemory.ElementSize(DType), (product, size) => checked(product * size));
}
