using Nibble.Serving.Store;

namespace Nibble.Serving.Keys;

/// <summary>The keys of a service, to be made and revoked also while it runs.</summary>
public sealed class KeyRing : IDisposable
{
    private const int LongestName = 100;

    private readonly JobStore store;

    /// <summary>Opens the keys in a service's database, which is made where there is none.</summary>
    /// <param name="database">As <see cref="ServiceOptions.Database"/> has it.</param>
    /// <exception cref="InvalidDataException">The database cannot be used.</exception>
    public KeyRing(string database) => store = new JobStore(StoreDatabase.At(database, serves: false));

    /// <summary>Makes a key.</summary>
    /// <param name="name">Whose it is, or what for.</param>
    /// <param name="scope">What it lets its bearer do.</param>
    /// <param name="rate">Requests in any minute; null for as many as come.</param>
    /// <param name="concurrency">Jobs of it that run at the same time; null for as many as the service runs.</param>
    /// <returns>The key, and its text, which cannot be had again.</returns>
    /// <exception cref="ArgumentException">An argument is out of range; the message names it.</exception>
    public async Task<(ApiKey Key, string Text)> CreateAsync(string name, KeyScope scope, int? rate, int? concurrency)
    {
        ArgumentNullException.ThrowIfNull(name);
        Require(name.Length is > 0 and <= LongestName && !name.Any(char.IsControl), $"--name must have 1 to {LongestName} letters, and none that controls.");
        Require(rate is null or > 0, $"--rate is {rate}; it must be positive.");
        Require(concurrency is null or > 0, $"--concurrency is {concurrency}; it must be positive.");
        (string id, string text) = KeyText.New();
        var key = new ApiKey { Id = id, Name = name, Hash = KeyText.HashOf(text), Scope = scope, Rate = rate, Concurrency = concurrency, Created = DateTimeOffset.UtcNow };
        await store.AddKeyAsync(key).ConfigureAwait(false);
        return (key, text);
    }

    /// <summary>All keys, also those that were revoked, in the order in which they were made.</summary>
    public Task<IReadOnlyList<ApiKey>> ListAsync() => store.ListKeysAsync();

    /// <summary>Makes a key worthless, from the next request on.</summary>
    /// <returns>Whether there was such a key.</returns>
    public Task<bool> RevokeAsync(string id) => store.RevokeKeyAsync(id);

    /// <inheritdoc/>
    public void Dispose() => store.Dispose();

    private static void Require(bool condition, string problem)
    {
        if (!condition)
        {
            throw new ArgumentException(problem);
        }
    }
}
