using System.Text.Json.Nodes;
using Nibble.Serving.Store;

namespace Nibble.Serving.Api;

/// <summary>A job as responses show it.</summary>
/// <param name="JobId">Its name.</param>
/// <param name="Status">Where it stands.</param>
/// <param name="Progress">Share of its steps that is done, 0 to 1.</param>
/// <param name="Step">Optimizer steps done.</param>
/// <param name="TotalSteps">Of how many; 0 until that is known.</param>
/// <param name="Metrics">The newest figures, such as <c>loss</c>, <c>learning_rate</c>, <c>tokens_per_second</c>, <c>eval_loss</c>.</param>
/// <param name="Error">Why it failed.</param>
/// <param name="Attempts">Workers that were started for it, and servers that took over one on a cluster.</param>
/// <param name="Device">Where it computes.</param>
/// <param name="MemoryBytes">What it is predicted to need there.</param>
/// <param name="ClusterJob">Its worker on a cluster: the kind, a colon, and the name there.</param>
/// <param name="ModelName">As asked for.</param>
/// <param name="TrainingDataPath">As asked for.</param>
/// <param name="OutputDir">As asked for.</param>
/// <param name="CreatedAt">When it was asked for.</param>
/// <param name="StartedAt">When its first worker was started.</param>
/// <param name="EndedAt">When it was over.</param>
internal sealed record JobView(
    string JobId, JobStatus Status, double Progress, int Step, int TotalSteps, JsonNode Metrics, string? Error, int Attempts, string Device, long MemoryBytes, string? ClusterJob,
    string ModelName, string TrainingDataPath, string OutputDir, DateTimeOffset CreatedAt, DateTimeOffset? StartedAt, DateTimeOffset? EndedAt)
{
    public static JobView Of(Job job) => new(
        job.Id, job.Status, job.TotalSteps == 0 ? 0 : (double)job.Step / job.TotalSteps, job.Step, job.TotalSteps, JsonNode.Parse(job.Metrics)!, job.Error, job.Attempts, job.Device, job.Memory, job.ClusterJob,
        job.ModelName, job.TrainingDataPath, job.OutputDir, job.Created, job.Started, job.Ended);
}

/// <summary>A part of the list of jobs, the newest first.</summary>
/// <param name="Data">The jobs.</param>
/// <param name="HasMore">Whether others follow, to be asked for with <c>after</c> the last of these.</param>
internal sealed record JobPage(IReadOnlyList<JobView> Data, bool HasMore);
