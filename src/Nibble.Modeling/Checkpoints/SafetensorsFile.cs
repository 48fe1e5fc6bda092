using System.IO.MemoryMappedFiles;
using Nibble.Kernels.Runtime;
using static TorchSharp.torch;

namespace Nibble.Modeling.Checkpoints;

/// <summary>A safetensors file, mapped into memory; tensors are views of the mapping and keep it alive.</summary>
public sealed class SafetensorsFile : IDisposable
{
    private readonly MemoryMappedFile mapping;
    private readonly MemoryMappedViewAccessor view;

    private SafetensorsFile(string path, FileStream file)
    {
        Path = path;
        (List<SafetensorInfo> tensors, Dictionary<string, string> metadata) = SafetensorsHeader.Read(path, file);
        Tensors = tensors.ToDictionary(tensor => tensor.Name);
        Metadata = metadata;
        mapping = MemoryMappedFile.CreateFromFile(file, null, 0, MemoryMappedFileAccess.Read, HandleInheritability.None, leaveOpen: false);
        view = mapping.CreateViewAccessor(0, 0, MemoryMappedFileAccess.Read);
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>Its tensors by name.</summary>
    public IReadOnlyDictionary<string, SafetensorInfo> Tensors { get; }

    /// <summary>Free text that its writer added.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>Maps a file and checks its header.</summary>
    /// <exception cref="InvalidDataException">The header is malformed or does not fit the file.</exception>
    /// <exception cref="FileNotFoundException">There is no such file.</exception>
    public static SafetensorsFile Open(string path)
    {
        if (!File.Exists(path))
        {
            throw new FileNotFoundException($"{path} does not exist.", path);
        }

        var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read);
        try
        {
            return new SafetensorsFile(path, file);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>A tensor of the file without a copy; read-only by nature, for writing to it ends the process.</summary>
    /// <exception cref="InvalidDataException">The tensor is missing, or of a dtype that tensors here cannot have.</exception>
    public Tensor View(string name)
    {
        SafetensorInfo info = Tensors.GetValueOrDefault(name) ?? throw new InvalidDataException($"{Path} has no tensor '{name}'.");
        ScalarType dtype = info.DType switch
        {
            "F64" => ScalarType.Float64,
            "F32" => ScalarType.Float32,
            "F16" => ScalarType.Float16,
            "BF16" => ScalarType.BFloat16,
            "I64" => ScalarType.Int64,
            "I32" => ScalarType.Int32,
            "I16" => ScalarType.Int16,
            "I8" => ScalarType.Int8,
            "U8" or "F8_E4M3" or "F8_E5M2" => ScalarType.Byte, // 8-bit floats as raw bytes.
            "BOOL" => ScalarType.Bool,
            string other => throw new InvalidDataException($"{Path}: tensor '{name}' is {other}, which this engine does not read."),
        };
        if (info.Length == 0)
        {
            return zeros(info.Shape, dtype);
        }

        return info.Offset % TensorMemory.ElementSize(dtype) == 0
            ? TensorMemory.FromBuffer(view.SafeMemoryMappedViewHandle, view.PointerOffset + info.Offset, info.Shape, dtype)
            : CopyOf(info, dtype);
    }

    /// <summary>Gives back the memory that reading a tensor took; views of it stay valid and read the file again.</summary>
    public void Release(string name)
    {
        SafetensorInfo info = Tensors[name];
        MappedPages.Release(view.SafeMemoryMappedViewHandle, view.PointerOffset + info.Offset, info.Length);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        view.Dispose();
        mapping.Dispose();
    }

    /// <summary>Headers need not end on an even address; then the elements have to be moved to one.</summary>
    private Tensor CopyOf(SafetensorInfo info, ScalarType dtype)
    {
        Tensor aligned = empty(info.Shape, dtype);
        view.SafeMemoryMappedViewHandle.ReadSpan((ulong)(view.PointerOffset + info.Offset), aligned.bytes);
        return aligned;
    }
}
