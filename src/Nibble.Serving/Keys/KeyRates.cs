using System.Net;
using System.Net.Sockets;
using System.Threading.RateLimiting;

namespace Nibble.Serving.Keys;

/// <summary>Holds each key to its requests a minute, and each address to the wrong keys that it may try. Every server counts for itself.</summary>
internal sealed class KeyRates : IDisposable
{
    private const int Segments = 6;

    /// <summary>Wrong keys of an address in a minute; whoever has a good one goes on, so nobody is shut out by a neighbour.</summary>
    public const int MostWrong = 20;

    private static readonly TimeSpan Window = TimeSpan.FromMinutes(1);

    private readonly PartitionedRateLimiter<ApiKey> limiter = PartitionedRateLimiter.Create<ApiKey, string>(key => key.Rate is { } rate
        ? RateLimitPartition.GetSlidingWindowLimiter(key.Id, _ => new SlidingWindowRateLimiterOptions { PermitLimit = rate, Window = Window, SegmentsPerWindow = Segments })
        : RateLimitPartition.GetNoLimiter(key.Id));

    private readonly PartitionedRateLimiter<IPAddress> wrong = PartitionedRateLimiter.Create<IPAddress, IPAddress>(address => RateLimitPartition.GetSlidingWindowLimiter(
        Network(address), _ => new SlidingWindowRateLimiterOptions { PermitLimit = MostWrong, Window = Window, SegmentsPerWindow = Segments }));

    /// <summary>When the oldest requests of the window leave it, at the latest.</summary>
    public static TimeSpan RetryAfter => Window / Segments;

    /// <summary>Whether the key may make one more request now.</summary>
    public bool Admits(ApiKey key)
    {
        using RateLimitLease lease = limiter.AttemptAcquire(key);
        return lease.IsAcquired;
    }

    /// <summary>Whether one more wrong key from an address is but refused.</summary>
    public bool AdmitsWrong(IPAddress address)
    {
        using RateLimitLease lease = wrong.AttemptAcquire(address);
        return lease.IsAcquired;
    }

    public void Dispose()
    {
        limiter.Dispose();
        wrong.Dispose();
    }

    /// <summary>Of IPv6, one customer has 64 bits of addresses.</summary>
    private static IPAddress Network(IPAddress address) => address.IsIPv4MappedToIPv6 ? address.MapToIPv4()
        : address.AddressFamily == AddressFamily.InterNetworkV6 ? new IPAddress([.. address.GetAddressBytes().Take(8), .. new byte[8]])
        : address;
}
