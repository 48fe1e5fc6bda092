using System.Net;
using Microsoft.AspNetCore.Http;
using Nibble.Serving.Jobs;

namespace Nibble.Serving;

/// <summary>How a service runs.</summary>
public sealed record ServiceOptions
{
    /// <summary>The folder below which base models lie.</summary>
    public required string Models { get; init; }

    /// <summary>The folder below which examples lie.</summary>
    public required string Data { get; init; }

    /// <summary>The folder below which jobs write.</summary>
    public required string Outputs { get; init; }

    /// <summary>The file of the jobs' database (SQLite).</summary>
    public required string Database { get; init; }

    /// <summary>Addresses to listen at, with semicolons between; port 0 is any free one.</summary>
    public string Urls { get; init; } = DefaultUrls;

    /// <summary>The key that requests must bear; null for none, which only loopback addresses may have.</summary>
    public string? ApiKey { get; init; }

    /// <summary>The environment variable that holds the key, which workers do not get to see.</summary>
    public string? ApiKeyVariable { get; init; }

    /// <summary>Jobs that run at the same time.</summary>
    public int Concurrency { get; init; } = 1;

    /// <summary>Loopback only.</summary>
    public const string DefaultUrls = "http://127.0.0.1:8470";

    internal PathRoot ModelRoot => new(Models);

    internal PathRoot DataRoot => new(Data);

    internal PathRoot OutputRoot => new(Outputs);

    internal IReadOnlyList<string> Addresses => Urls.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    /// <summary>Checks what can be checked before anything is opened.</summary>
    /// <exception cref="ArgumentException">A value is out of range, or an address is open to others without a key.</exception>
    public ServiceOptions Validated()
    {
        foreach (string folder in new[] { Models, Data, Outputs })
        {
            Require(Directory.Exists(folder), $"{folder} is not a folder.");
        }

        Require(Concurrency > 0, $"--concurrency is {Concurrency}; it must be positive.");
        Require(ApiKey is null or { Length: >= ShortestKey }, $"the API key has {ApiKey?.Length} characters; it must have at least {ShortestKey}.");
        Require(Addresses.Count > 0, "--urls names no address.");
        foreach (string url in Addresses)
        {
            BindingAddress address = Parse(url);
            Require(address.Scheme == Uri.UriSchemeHttp, $"--urls names {url}; only http is served, put a proxy before it for https.");
            Require(ApiKey is not null || IsLoopback(address.Host), $"--urls names {url}, which others can reach; that needs a key (--api-key-env).");
        }

        return this;
    }

    private const int ShortestKey = 16;

    /// <summary>Kestrel listens at every address for a name that is neither an IP address nor localhost.</summary>
    private static bool IsLoopback(string host) =>
        host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || (IPAddress.TryParse(host.Trim('[', ']'), out IPAddress? address) && IPAddress.IsLoopback(address));

    private static BindingAddress Parse(string url)
    {
        try
        {
            return BindingAddress.Parse(url);
        }
        catch (FormatException exception)
        {
            throw new ArgumentException($"--urls names {url}, which is no address such as {DefaultUrls}.", exception);
        }
    }

    private static void Require(bool condition, string problem)
    {
        if (!condition)
        {
            throw new ArgumentException(problem);
        }
    }
}
