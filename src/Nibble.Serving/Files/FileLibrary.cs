using Nibble.Serving.Store;

namespace Nibble.Serving.Files;

/// <summary>Uploaded files: their rows in the store, and their contents on the disk, which files of the same content share.</summary>
internal sealed class FileLibrary(JobStore store, ServiceOptions options, DiskQuota quota)
{
    private readonly ContentFolder contents = new(options.Files);

    /// <summary>Writes a file to the disk; it is no one's until it is kept, and goes when what is returned is disposed of.</summary>
    /// <param name="source">Its bytes.</param>
    /// <param name="name">Its name.</param>
    /// <param name="most">Bytes at most, if the disk quota has room for so many.</param>
    /// <param name="cancellation">Ends it, and nothing stays.</param>
    /// <exception cref="InvalidDataException">It is longer.</exception>
    /// <exception cref="IOException">The disk is full.</exception>
    public Task<ContentFolder.Received> ReceiveAsync(Stream source, string name, long most, CancellationToken cancellation) =>
        contents.ReceiveAsync(source, name, Math.Min(most, quota.Left), cancellation);

    /// <summary>Takes a file in that has been received.</summary>
    /// <param name="received">The file.</param>
    /// <param name="name">Its name.</param>
    /// <param name="purpose">What it is for.</param>
    /// <returns>Null where there are as many files as may be.</returns>
    public async Task<StoredFile?> KeepAsync(ContentFolder.Received received, string name, string purpose)
    {
        var file = new StoredFile
        {
            Id = $"file-{Guid.CreateVersion7():N}",
            Name = name,
            Purpose = purpose,
            Sha256 = received.Sha256,
            Content = received.Content,
            Bytes = received.Bytes,
            Created = DateTimeOffset.UtcNow,
        };
        return await store.AddFileAsync(file, options.MaxFiles, () => contents.Place(received)).ConfigureAwait(false) ? file : null;
    }

    /// <summary>Where the bytes of a file lie; they must not be changed.</summary>
    public string PathOf(StoredFile file) => contents.PathOf(file.Content);

    /// <summary>Deletes a file, and its content with the last file that has it.</summary>
    public Task<Deletion> DeleteAsync(string id) => store.DeleteFileAsync(id, contents.Delete);

    /// <summary>Deletes what a server left that was killed: contents that no file has.</summary>
    public Task CollectAsync() => store.CollectFilesAsync(contents.Collect);
}
