namespace Nibble.Serving.Store;

/// <summary>Where a job stands.</summary>
internal enum JobStatus
{
    /// <summary>Waits for its turn, here or on a cluster, or to go on after an interruption.</summary>
    Pending,

    /// <summary>Has a worker.</summary>
    Running,

    /// <summary>Was stopped for now; goes on from its last checkpoint when a request resumes it.</summary>
    Paused,

    /// <summary>Came to its end.</summary>
    Completed,

    /// <summary>Will not come to its end; the error says why.</summary>
    Failed,

    /// <summary>Was stopped by a request; checkpoints stay.</summary>
    Cancelled,
}

/// <summary>What a request wants of a job that runs.</summary>
internal enum JobWish
{
    /// <summary>To stop for now, when it has saved a checkpoint.</summary>
    Pause,

    /// <summary>To stop at once and for good.</summary>
    Cancel,
}

/// <summary>A fine-tune that someone asked for.</summary>
internal sealed class Job
{
    /// <summary>Jobs are numbered in the order in which they came.</summary>
    public long Number { get; init; }

    /// <summary>The name that requests use.</summary>
    public required string Id { get; init; }

    public JobStatus Status { get; set; }

    /// <summary>The request's fields as they came.</summary>
    public required string ModelName { get; init; }

    public required string TrainingDataPath { get; init; }

    public required string OutputDir { get; init; }

    /// <summary>The real path of the output folder.</summary>
    public required string Folder { get; init; }

    /// <summary>The run's configuration as JSON, its paths real.</summary>
    public required string Config { get; init; }

    /// <summary>What a request in OpenAI's shape said beyond these fields, as a JSON object; null for others.</summary>
    public string? Asked { get; init; }

    /// <summary>The key that creation named, and a hash of what it asked for.</summary>
    public string? IdempotencyKey { get; init; }

    public required string RequestHash { get; init; }

    /// <summary>The API key that asked for it; null where none was needed.</summary>
    public string? KeyId { get; init; }

    /// <summary>Workers that were started for it, and servers that took one over; all workers but the first resume. The number of the attempt that may write.</summary>
    public int Attempts { get; set; }

    /// <summary>Attempts that ended without a verdict since the job last got farther than ever before.</summary>
    public int Deaths { get; set; }

    /// <summary>What the job's server is to do with it.</summary>
    public JobWish? Wish { get; set; }

    /// <summary>The server that runs it.</summary>
    public string? Owner { get; set; }

    /// <summary>Its worker on a cluster, as the kind of cluster and the name that it has there; null for one that is none, or has no such worker.</summary>
    public string? ClusterJob { get; set; }

    /// <summary>Bytes of what that worker has said that are stored.</summary>
    public long ClusterHeard { get; set; }

    /// <summary>When another server may take it; milliseconds since 1970 by the database's clock, as is <see cref="DueAt"/>.</summary>
    public long LeaseUntil { get; set; }

    /// <summary>When a pending job may run at the earliest.</summary>
    public long DueAt { get; set; }

    /// <summary>Where it computes: cpu or cuda:N.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Bytes that it is predicted to need there.</summary>
    public long Memory { get; init; }

    /// <summary>Milliseconds for which it has had a worker.</summary>
    public long RunTime { get; set; }

    public int Step { get; set; }

    /// <summary>The highest step that any attempt has reached.</summary>
    public int FarthestStep { get; set; }

    /// <summary>Zero until it is known.</summary>
    public int TotalSteps { get; set; }

    /// <summary>The newest value of every figure, as a JSON object.</summary>
    public string Metrics { get; set; } = "{}";

    public string? Error { get; set; }

    public DateTimeOffset Created { get; init; }

    public DateTimeOffset? Started { get; set; }

    public DateTimeOffset? Ended { get; set; }

    public bool IsOver => Status is JobStatus.Completed or JobStatus.Failed or JobStatus.Cancelled;
}

/// <summary>Something that happened to a job.</summary>
internal sealed class JobEvent
{
    /// <summary>Events of all jobs are numbered in their order.</summary>
    public long Number { get; init; }

    public long JobNumber { get; init; }

    public DateTimeOffset Time { get; init; }

    /// <summary>status, metrics, evaluation or log.</summary>
    public required string Kind { get; init; }

    /// <summary>A JSON object.</summary>
    public required string Data { get; init; }
}
