using System.Text.Json.Nodes;

namespace Nibble.Serving.Workers;

/// <summary>A job's worker as its server sees it, wherever it runs.</summary>
internal interface IWorker : IDisposable
{
    /// <summary>For how long it has not answered.</summary>
    TimeSpan Silence { get; }

    /// <summary>For how long it has computed; what it waited for its turn is not in it.</summary>
    TimeSpan Worked { get; }

    /// <summary>How far it has been listened to, so that a later server can go on from there; 0 for a worker that ends with its server.</summary>
    long Heard { get; }

    /// <summary>Tells it that its server still has the job.</summary>
    void Beat();

    /// <summary>Listens until it ends, or is left to a later server.</summary>
    /// <param name="heard">Is called with each message.</param>
    /// <param name="stop">Ends it.</param>
    Task<WorkerExit> ListenAsync(Action<JsonObject> heard, StopOrder stop);
}
