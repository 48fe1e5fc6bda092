using System.Threading.RateLimiting;

namespace Nibble.Serving.Keys;

/// <summary>Holds each key to its requests a minute. Every server counts for itself.</summary>
internal sealed class KeyRates : IDisposable
{
    private const int Segments = 6;

    private static readonly TimeSpan Window = TimeSpan.FromMinutes(1);

    private readonly PartitionedRateLimiter<ApiKey> limiter = PartitionedRateLimiter.Create<ApiKey, string>(key => key.Rate is { } rate
        ? RateLimitPartition.GetSlidingWindowLimiter(key.Id, _ => new SlidingWindowRateLimiterOptions { PermitLimit = rate, Window = Window, SegmentsPerWindow = Segments })
        : RateLimitPartition.GetNoLimiter(key.Id));

    /// <summary>When the oldest requests of the window leave it, at the latest.</summary>
    public static TimeSpan RetryAfter => Window / Segments;

    /// <summary>Whether the key may make one more request now.</summary>
    public bool Admits(ApiKey key)
    {
        using RateLimitLease lease = limiter.AttemptAcquire(key);
        return lease.IsAcquired;
    }

    public void Dispose() => limiter.Dispose();
}
