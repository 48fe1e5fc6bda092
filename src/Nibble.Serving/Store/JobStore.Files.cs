using Microsoft.EntityFrameworkCore;

namespace Nibble.Serving.Store;

/// <summary>What came of the wish to delete a file.</summary>
internal enum Deletion
{
    /// <summary>It is gone.</summary>
    Deleted,

    /// <summary>There was none.</summary>
    None,

    /// <summary>A job that is not over reads it.</summary>
    InUse,
}

/// <summary>Uploaded files. What is done on the disk happens while no other server adds or deletes, so that no row is without its content.</summary>
internal sealed partial class JobStore
{
    /// <summary>Adds a file.</summary>
    /// <param name="file">The file.</param>
    /// <param name="most">Files that there may be, this one among them.</param>
    /// <param name="place">Puts its content in its place.</param>
    /// <returns>Whether there was room for it.</returns>
    public Task<bool> AddFileAsync(StoredFile file, int most, Action place) => WriteAsync(async tables =>
    {
        await database.AloneAsync(tables).ConfigureAwait(false);
        if (await tables.Files.CountAsync().ConfigureAwait(false) >= most)
        {
            return false;
        }

        place();
        tables.Files.Add(file);
        return true;
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

    /// <summary>How many files there are.</summary>
    public async Task<int> CountFilesAsync(CancellationToken cancellation)
    {
        await using JobDatabase tables = database.Open();
        return await tables.Files.CountAsync(cancellation).ConfigureAwait(false);
    }

    /// <summary>Deletes a file, unless a job that is not over reads its content.</summary>
    /// <param name="id">The file.</param>
    /// <param name="remove">Removes a content that no other file has.</param>
    public Task<Deletion> DeleteFileAsync(string id, Action<string> remove) => WriteAsync(async tables =>
    {
        await database.AloneAsync(tables).ConfigureAwait(false);
        if (await tables.Files.SingleOrDefaultAsync(item => item.Id == id).ConfigureAwait(false) is not { } file)
        {
            return Deletion.None;
        }

        if (await Unfinished(tables).AnyAsync(job => job.Config.Contains(file.Content)).ConfigureAwait(false))
        {
            return Deletion.InUse;
        }

        tables.Files.Remove(file);
        if (!await tables.Files.AnyAsync(other => other.Content == file.Content && other.Id != id).ConfigureAwait(false))
        {
            remove(file.Content);
        }

        return Deletion.Deleted;
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
