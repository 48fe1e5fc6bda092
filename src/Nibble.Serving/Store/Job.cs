namespace Nibble.Serving.Store;

/// <summary>Where a job stands.</summary>
internal enum JobStatus
{
    /// <summary>Waits for its turn, or to go on after an interruption.</summary>
    Pending,

    /// <summary>Has a worker.</summary>
    Running,

    /// <summary>Came to its end.</summary>
    Completed,

    /// <summary>Will not come to its end; the error says why.</summary>
    Failed,

    /// <summary>Was stopped by a request; checkpoints stay.</summary>
    Cancelled,
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

    /// <summary>The key that creation named, and a hash of what it asked for.</summary>
    public string? IdempotencyKey { get; init; }

    public required string RequestHash { get; init; }

    /// <summary>Workers that were started for it; all but the first resume.</summary>
    public int Attempts { get; set; }

    /// <summary>Workers that died.</summary>
    public int Deaths { get; set; }

    public bool CancelRequested { get; set; }

    public int Step { get; set; }

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
