using Microsoft.EntityFrameworkCore;

namespace Nibble.Serving.Store;

/// <summary>Uploaded files. What is done on the disk happens while no other server adds or deletes, so that no row is without its content.</summary>
internal sealed partial class JobStore
{
    /// <summary>Adds a file.</summary>
    /// <param name="file">The file.</param>
    /// <param name="place">Puts its content in its place.</param>
    public Task AddFileAsync(StoredFile file, Action place) => WriteAsync(async tables =>
    {
        await database.AloneAsync(tables).ConfigureAwait(false);
        place();
        tables.Files.Add(file);
        return 0;
    });

    public async Task<StoredFile?> FindFileAsync(string id, CancellationToken cancellation = default)
    {
        await using JobDatabase tables = database.Open();
        return await tables.Files.AsNoTracking().SingleOrDefaultAsync(file => file.Id == id, cancellation).ConfigureAwait(false);
    }

    /// <summary>The newest files first.</summary>
    public async Task<IReadOnlyList<StoredFile>> ListFilesAsync(int limit, StoredFile? after, string? purpose, CancellationToken cancellation)
    {
        await using JobDatabase tables = database.Open();
        IQueryable<StoredFile> files = tables.Files.AsNoTracking();
        files = after is null ? files : files.Where(file => file.Number < after.Number);
        files = purpose is null ? files : files.Where(file => file.Purpose == purpose);
        return await files.OrderByDescending(file => file.Number).Take(limit).ToListAsync(cancellation).ConfigureAwait(false);
    }

    /// <summary>Deletes a file.</summary>
    /// <param name="id">The file.</param>
    /// <param name="remove">Removes a content that no other file has.</param>
    /// <returns>Whether there was one.</returns>
    public Task<bool> DeleteFileAsync(string id, Action<string> remove) => WriteAsync(async tables =>
    {
        await database.AloneAsync(tables).ConfigureAwait(false);
        if (await tables.Files.SingleOrDefaultAsync(item => item.Id == id).ConfigureAwait(false) is not { } file)
        {
            return false;
        }

        tables.Files.Remove(file);
        if (!await tables.Files.AnyAsync(other => other.Content == file.Content && other.Id != id).ConfigureAwait(false))
        {
            remove(file.Content);
        }

        return true;
    });

    /// <summary>Lets contents be removed that no file has.</summary>
    /// <param name="collect">Is given those that files have.</param>
    public Task CollectFilesAsync(Action<IReadOnlySet<string>> collect) => WriteAsync(async tables =>
    {
        await database.AloneAsync(tables).ConfigureAwait(false);
        collect(await tables.Files.Select(file => file.Content).ToHashSetAsync().ConfigureAwait(false));
        return 0;
    });
}
