using System.Text.Json;

namespace Nibble.Data.Augmentation;

/// <summary>How a <see cref="ResilientChatClient"/> treats the model that it asks.</summary>
public sealed record ResilienceOptions
{
    /// <summary>Requests at once.</summary>
    public int Concurrency { get; init; } = 4;

    /// <summary>How often a request is repeated that failed for a passing reason.</summary>
    public int Retries { get; init; } = 5;

    /// <summary>The wait before the first repetition; each further wait is twice as long.</summary>
    public TimeSpan Backoff { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long one attempt may take.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>Where replies are kept, so that the same question is never paid for twice; null: nowhere.</summary>
    public string? CacheFolder { get; init; }

    /// <summary>Is told why a request will be repeated, and after how long.</summary>
    public Action<Exception, TimeSpan>? OnRetry { get; init; }

    /// <summary>Whether a failure may pass by itself. By default a broken connection or body; a client's own exceptions only it knows.</summary>
    public Func<Exception, bool> IsTransient { get; init; } = exception => exception is HttpRequestException or IOException or JsonException;
}
