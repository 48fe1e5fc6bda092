namespace Nibble.Serving.Clusters;

/// <summary>What a cluster does for the service, through its own client. Each worker is a job of it, under a name that no other ever has.</summary>
internal interface ICluster : IDisposable
{
    /// <summary>What messages and the database call it.</summary>
    string Name { get; }

    /// <summary>Whether its jobs get a GPU.</summary>
    bool HasGpu { get; }

    /// <summary>What it means that it does not know a job that it had.</summary>
    ClusterState Forgotten { get; }

    /// <summary>Makes sure that it can be asked, and takes jobs of this kind.</summary>
    /// <exception cref="ArgumentException">It cannot; the message says why.</exception>
    Task CheckAsync(CancellationToken cancellation);

    /// <summary>Hands a job over. One of that name that is there already stays as it is.</summary>
    /// <exception cref="ClusterRefusalException">It does not take such jobs.</exception>
    /// <exception cref="ClusterUnreachableException">It does not answer; the job may be there or not.</exception>
    Task SubmitAsync(ClusterJob job);

    /// <summary>Where a job stands; null when the cluster knows none of that name.</summary>
    /// <exception cref="ClusterUnreachableException">It does not answer.</exception>
    Task<ClusterState?> FindAsync(string name);

    /// <summary>Ends a job at once, wherever it stands.</summary>
    /// <exception cref="ClusterUnreachableException">It does not answer.</exception>
    Task EndAsync(string name);
}

/// <summary>A worker as a cluster's job.</summary>
/// <param name="Name">Of letters, digits and hyphens.</param>
/// <param name="Folder">Through which it talks with its server.</param>
/// <param name="Program">The program, as it is started on this machine.</param>
/// <param name="Arguments">What it is told.</param>
/// <param name="Memory">Bytes that it is predicted to need of the host; null where that is not known.</param>
internal sealed record ClusterJob(string Name, string Folder, IReadOnlyList<string> Program, IReadOnlyList<string> Arguments, long? Memory);

/// <summary>Where a cluster's job stands.</summary>
internal enum ClusterPhase
{
    /// <summary>Waits for its turn.</summary>
    Waiting,

    /// <summary>Runs.</summary>
    Running,

    /// <summary>Ended by itself; its exit code says how.</summary>
    Ended,

    /// <summary>Was ended by what had nothing to do with it, or by a limit of time: another goes on from the last checkpoint.</summary>
    Lost,

    /// <summary>Was ended for what another would do as well.</summary>
    Failed,

    /// <summary>Was cancelled by somebody who has the cluster.</summary>
    Cancelled,
}

/// <summary>Where a cluster's job stands, and why.</summary>
/// <param name="Phase">Where.</param>
/// <param name="Words">As a user reads it, after the cluster's name: <c>job 12 is PENDING (Resources)</c>.</param>
/// <param name="ExitCode">Where it ended by itself; 128 and the signal's number when it was killed.</param>
internal sealed record ClusterState(ClusterPhase Phase, string Words, int ExitCode = 0);

/// <summary>The cluster does not take a job, however often it is asked.</summary>
internal sealed class ClusterRefusalException(string message) : Exception(message);

/// <summary>The cluster does not answer, or not now.</summary>
internal sealed class ClusterUnreachableException(string message, Exception? inner = null) : Exception(message, inner);
