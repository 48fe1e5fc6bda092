namespace Nibble.Serving.Store;

/// <summary>A file that someone uploaded. Files of the same content share it on the disk.</summary>
internal sealed class StoredFile
{
    /// <summary>Files are numbered in the order in which they came.</summary>
    public long Number { get; init; }

    /// <summary>The name that requests use.</summary>
    public required string Id { get; init; }

    /// <summary>The name that it was given.</summary>
    public required string Name { get; init; }

    /// <summary>What it is for, such as fine-tune.</summary>
    public required string Purpose { get; init; }

    /// <summary>SHA-256 of its bytes, in lower-case hexadecimal digits.</summary>
    public required string Sha256 { get; init; }

    /// <summary>The name of its content in the folder of contents: hash and extension.</summary>
    public required string Content { get; init; }

    public long Bytes { get; init; }

    public DateTimeOffset Created { get; init; }
}
