using Nibble.Serving.Store;

namespace Nibble.Serving.OpenAi;

/// <summary>A file as responses show it.</summary>
/// <param name="Id">Its name for requests.</param>
/// <param name="Bytes">Its length.</param>
/// <param name="CreatedAt">Seconds since 1970.</param>
/// <param name="Filename">The name that it was given.</param>
/// <param name="Purpose">What it is for.</param>
internal sealed record FileView(string Id, long Bytes, long CreatedAt, string Filename, string Purpose)
{
    public string Object { get; } = "file";

    /// <summary>A file that cannot be used is none.</summary>
    public string Status { get; } = "processed";

    public static FileView Of(StoredFile file) => new(file.Id, file.Bytes, file.Created.ToUnixTimeSeconds(), file.Name, file.Purpose);
}
