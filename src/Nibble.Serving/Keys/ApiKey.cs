namespace Nibble.Serving.Keys;

/// <summary>A key of the service; the secret itself is nowhere.</summary>
public sealed class ApiKey
{
    /// <summary>Keys are numbered in the order in which they were made.</summary>
    public long Number { get; init; }

    /// <summary>Its public part, by which it is found, revoked, and named in the audit log.</summary>
    public required string Id { get; init; }

    /// <summary>Whose it is, or what for.</summary>
    public required string Name { get; init; }

    /// <summary>SHA-256 of the whole key, in lower-case hexadecimal digits.</summary>
    public required string Hash { get; init; }

    /// <summary>What it lets its bearer do.</summary>
    public KeyScope Scope { get; init; }

    /// <summary>Requests in any minute; null for as many as come.</summary>
    public int? Rate { get; init; }

    /// <summary>Jobs of it that run at the same time; null for as many as the service runs.</summary>
    public int? Concurrency { get; init; }

    /// <summary>When it was made.</summary>
    public DateTimeOffset Created { get; init; }

    /// <summary>Since when it is worth nothing.</summary>
    public DateTimeOffset? Revoked { get; set; }

    /// <summary>When it was last borne, to the minute.</summary>
    public DateTimeOffset? LastUsed { get; set; }
}
