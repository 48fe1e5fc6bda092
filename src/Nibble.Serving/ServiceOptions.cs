using System.Net;
using Microsoft.AspNetCore.Http;
using Nibble.Serving.Jobs;

namespace Nibble.Serving;

/// <summary>Where jobs run.</summary>
public enum ExecutorKind
{
    /// <summary>In processes of this machine.</summary>
    Local,

    /// <summary>As jobs of Slurm.</summary>
    Slurm,

    /// <summary>As Jobs of Kubernetes.</summary>
    Kubernetes,
}

/// <summary>How a service runs.</summary>
public sealed record ServiceOptions
{
    /// <summary>The folder below which base models lie.</summary>
    public required string Models { get; init; }

    /// <summary>The folder below which examples lie.</summary>
    public required string Data { get; init; }

    /// <summary>The folder below which jobs write.</summary>
    public required string Outputs { get; init; }

    /// <summary>Where the jobs are kept: a file (SQLite), or a connection string of PostgreSQL, such as <c>Host=db;Database=nibble</c>.</summary>
    public required string Database { get; init; }

    /// <summary>The folder of uploaded files.</summary>
    public required string Files { get; init; }

    /// <summary>Addresses to listen at, with semicolons between; port 0 is any free one.</summary>
    public string Urls { get; init; } = DefaultUrls;

    /// <summary>The file to which it is added who did what; null for none.</summary>
    public string? AuditLog { get; init; }

    /// <summary>Jobs that run at the same time on a device, if its memory is enough for them.</summary>
    public int Concurrency { get; init; } = 1;

    /// <summary>Bytes that jobs on the CPU may need together; null for the machine's memory.</summary>
    public long? Memory { get; init; }

    /// <summary>Jobs that may wait.</summary>
    public int Queue { get; init; } = 1000;

    /// <summary>Bytes that outputs and uploaded files may take of the disk; null for all.</summary>
    public long? DiskQuota { get; init; }

    /// <summary>Bytes of an uploaded file at most.</summary>
    public long MaxUpload { get; init; } = 512L << 20;

    /// <summary>Uploaded files that there may be.</summary>
    public int MaxFiles { get; init; } = 1000;

    /// <summary>Chats that may wait for a base model.</summary>
    public int ChatQueue { get; init; } = 16;

    /// <summary>After how long a base model leaves the memory that nobody chats with.</summary>
    public TimeSpan ChatIdle { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>For how long a job may have a worker, all its attempts together; null for ever.</summary>
    public TimeSpan? MaxRunTime { get; init; }

    /// <summary>After how long another server takes over the jobs of one that is silent.</summary>
    public TimeSpan Lease { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Where jobs run.</summary>
    public ExecutorKind Executor { get; init; }

    /// <summary>What a cluster's jobs are made from: a batch script (Slurm), or a Job's manifest (Kubernetes).</summary>
    public string? JobTemplate { get; init; }

    /// <summary>Loopback only.</summary>
    public const string DefaultUrls = "http://127.0.0.1:8470";

    internal PathRoot ModelRoot => new(Models);

    internal PathRoot DataRoot => new(Data);

    internal PathRoot OutputRoot => new(Outputs);

    /// <summary>A text in which the folders have the names of their options, for where they lie is nobody's business.</summary>
    internal string WithoutPaths(string text) => new[] { (Models, "models"), (Data, "data"), (Outputs, "outputs"), (Files, "files") }
        .OrderByDescending(item => item.Item1.Length) // One may lie in another.
        .Aggregate(text, (shown, item) => new PathRoot(item.Item1).Hide(shown, item.Item2));

    internal IReadOnlyList<string> Addresses => Urls.Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    /// <summary>Checks what can be checked before anything is opened.</summary>
    /// <exception cref="ArgumentException">A value is out of range.</exception>
    public ServiceOptions Validated()
    {
        foreach (string folder in new[] { Models, Data, Outputs })
        {
            Require(Directory.Exists(folder), $"{folder} is not a folder.");
        }

        Require(Concurrency > 0, $"--concurrency is {Concurrency}; it must be positive.");
        Require(MaxUpload > 0, $"--max-upload is {MaxUpload}; it must be positive.");
        Require(MaxFiles > 0, $"--max-files is {MaxFiles}; it must be positive.");
        Require(ChatQueue > 0, $"--chat-queue is {ChatQueue}; it must be positive.");
        Require(ChatIdle > TimeSpan.Zero, $"--chat-idle is {ChatIdle.TotalSeconds}; it must be positive.");
        Require(Queue > 0, $"--queue is {Queue}; it must be positive.");
        Require(MaxRunTime is null || MaxRunTime > TimeSpan.Zero, $"--max-run-time is {MaxRunTime?.TotalSeconds}; it must be positive.");
        Require(Executor != ExecutorKind.Local || JobTemplate is null, "--job-template is for jobs of a cluster; name one with --executor.");
        Require(Executor != ExecutorKind.Kubernetes || JobTemplate is not null, "--executor kubernetes needs a --job-template: the manifest of a Job that names the image and mounts the service's folders.");
        Require(Lease >= ShortestLease, $"--lease is {Lease.TotalSeconds}; it must be at least {ShortestLease.TotalSeconds}.");
        Require(Addresses.Count > 0, "--urls names no address.");
        foreach (string url in Addresses)
        {
            BindingAddress address = Parse(url);
            Require(address.Scheme == Uri.UriSchemeHttp, $"--urls names {url}; only http is served, put a proxy before it for https.");
        }

        return this;
    }

    /// <summary>Checks that only this machine reaches the service.</summary>
    /// <exception cref="ArgumentException">An address is open to others.</exception>
    internal void RequireLoopback()
    {
        foreach (string url in Addresses)
        {
            Require(IsLoopback(Parse(url).Host), $"--urls names {url}, which others can reach; that needs a key ('nibble keys create').");
        }
    }

    /// <summary>A worker must be up within it.</summary>
    private static readonly TimeSpan ShortestLease = TimeSpan.FromSeconds(2);

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
