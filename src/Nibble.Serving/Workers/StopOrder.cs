namespace Nibble.Serving.Workers;

/// <summary>Why a worker is to end, the weakest first; a stronger reason takes the place of a weaker one.</summary>
internal enum StopReason
{
    /// <summary>The service is stopping.</summary>
    Draining,

    /// <summary>The disk quota is used up.</summary>
    DiskQuota,

    /// <summary>A request pauses the job.</summary>
    Pause,

    /// <summary>The job has run for as long as it may.</summary>
    RunTime,

    /// <summary>A request cancels the job.</summary>
    Cancel,

    /// <summary>The worker says nothing any more.</summary>
    Silence,

    /// <summary>Another attempt has the job.</summary>
    LeaseLost,
}

/// <summary>Tells a worker to end: first by asking, and when its time is over, by killing it.</summary>
internal sealed class StopOrder : IDisposable
{
    private readonly CancellationTokenSource asked = new();
    private readonly CancellationTokenSource killed = new();
    private readonly Lock giving = new();

    /// <summary>Null while it may go on.</summary>
    public StopReason? Reason { get; private set; }

    /// <summary>It is to save a checkpoint and end.</summary>
    public CancellationToken Asked => asked.Token;

    /// <summary>It is to be gone.</summary>
    public CancellationToken Killed => killed.Token;

    public void Give(StopReason reason)
    {
        lock (giving)
        {
            if (Reason >= reason)
            {
                return;
            }

            Reason = reason;
            killed.CancelAfter(PatienceFor(reason));
        }

        asked.Cancel();
    }

    public void Dispose()
    {
        asked.Dispose();
        killed.Dispose();
    }

    private static TimeSpan PatienceFor(StopReason reason) => TimeSpan.FromSeconds(reason switch
    {
        StopReason.Silence or StopReason.LeaseLost => 0,
        StopReason.Cancel => 0.5, // So that it is gone within a second, also where another server was asked.
        _ => 30,
    });
}
