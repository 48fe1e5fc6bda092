using Microsoft.EntityFrameworkCore;
using Nibble.Serving.Keys;

namespace Nibble.Serving.Store;

/// <summary>The keys that requests bear.</summary>
internal sealed partial class JobStore
{
    /// <summary>So that a key in use costs one write a minute.</summary>
    private static readonly TimeSpan Minute = TimeSpan.FromMinutes(1);

    public Task AddKeyAsync(ApiKey key) => WriteAsync(tables =>
    {
        tables.Keys.Add(key);
        return Task.FromResult(0);
    });

    public async Task<IReadOnlyList<ApiKey>> ListKeysAsync()
    {
        await using JobDatabase tables = database.Open();
        return await tables.Keys.AsNoTracking().OrderBy(key => key.Number).ToListAsync().ConfigureAwait(false);
    }

    /// <summary>Makes a key worthless; one that was so already stays as it is.</summary>
    /// <returns>Whether there is such a key.</returns>
    public Task<bool> RevokeKeyAsync(string id) => WriteAsync(async tables =>
    {
        ApiKey? key = await tables.Keys.SingleOrDefaultAsync(item => item.Id == id).ConfigureAwait(false);
        if (key is null)
        {
            return false;
        }

        key.Revoked ??= DateTimeOffset.UtcNow;
        return true;
    });

    /// <summary>The key that a text proves to be borne; null where it proves none.</summary>
    public async Task<ApiKey?> FindKeyAsync(string text, CancellationToken cancellation)
    {
        string? id = KeyText.IdOf(text);
        await using JobDatabase tables = database.Open();
        ApiKey? key = id is null ? null : await tables.Keys.AsNoTracking().SingleOrDefaultAsync(item => item.Id == id, cancellation).ConfigureAwait(false);
        if (!KeyText.Proves(text, key))
        {
            return null;
        }

        DateTimeOffset now = DateTimeOffset.UtcNow;
        if (key!.LastUsed is null || now - key.LastUsed > Minute)
        {
            await tables.Keys.Where(item => item.Id == id).ExecuteUpdateAsync(set => set.SetProperty(item => item.LastUsed, now), cancellation).ConfigureAwait(false);
        }

        return key;
    }

    /// <summary>Whether a key has not been revoked.</summary>
    public async Task<bool> IsGoodAsync(ApiKey key)
    {
        await using JobDatabase tables = database.Open();
        return await tables.Keys.AnyAsync(item => item.Id == key.Id && item.Revoked == null).ConfigureAwait(false);
    }

    /// <summary>Whether there are keys: any that was ever made, or one that is still good.</summary>
    public async Task<bool> HasKeysAsync(bool good, CancellationToken cancellation)
    {
        await using JobDatabase tables = database.Open();
        return await tables.Keys.AnyAsync(key => !good || key.Revoked == null, cancellation).ConfigureAwait(false);
    }
}
