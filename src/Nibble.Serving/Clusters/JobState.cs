using k8s.Models;

namespace Nibble.Serving.Clusters;

/// <summary>Where a worker stands, from what Kubernetes says of its Job and its pod.</summary>
internal static class JobState
{
    private const string True = "True";

    public static ClusterState Of(V1Job job, V1Pod? pod)
    {
        string name = $"Job {job.Metadata.Name}";
        V1JobCondition? failed = job.Status?.Conditions?.FirstOrDefault(condition => condition is { Type: "Failed" or "FailureTarget", Status: True });
        V1ContainerState? container = pod?.Status?.ContainerStatuses?.FirstOrDefault()?.State;
        if (job.Metadata.DeletionTimestamp is not null)
        {
            return new ClusterState(ClusterPhase.Waiting, $"{name} is being deleted");
        }

        if (job.Status?.Conditions?.Any(condition => condition is { Type: "Complete", Status: True }) == true)
        {
            return new ClusterState(ClusterPhase.Ended, $"{name} is complete");
        }

        if (Disruption(pod) is { } disruption)
        {
            return new ClusterState(ClusterPhase.Lost, $"{name} was disrupted ({disruption})");
        }

        if (container?.Terminated is { } end)
        {
            return end.Reason == "OOMKilled"
                ? new ClusterState(ClusterPhase.Failed, $"{name} was killed for want of memory (OOMKilled); give it more, or the job less to do at a time")
                : new ClusterState(ClusterPhase.Ended, $"{name} ended with exit code {end.ExitCode}", end.ExitCode);
        }

        if (failed is not null)
        {
            return new ClusterState(ClusterPhase.Lost, $"{name} failed ({failed.Reason})"); // DeadlineExceeded, or its pod is gone with its node.
        }

        return container?.Running is not null
            ? new ClusterState(ClusterPhase.Running, $"{name} is running on {pod!.Spec?.NodeName ?? "a node"}")
            : new ClusterState(ClusterPhase.Waiting, $"{name} is pending{Brackets(container?.Waiting?.Reason ?? Unscheduled(pod))}");
    }

    /// <summary>What has nothing to do with the worker: its node was lost or emptied, or somebody more important wanted its place.</summary>
    private static string? Disruption(V1Pod? pod) =>
        pod?.Status?.Conditions?.FirstOrDefault(condition => condition is { Type: "DisruptionTarget", Status: True })?.Reason
        ?? (pod?.Status is { Phase: "Failed", Reason: { } reason } && reason != "DeadlineExceeded" ? reason : null);

    private static string? Unscheduled(V1Pod? pod) => pod?.Status?.Conditions?.FirstOrDefault(condition => condition is { Type: "PodScheduled", Status: "False" })?.Reason;

    private static string Brackets(string? reason) => reason is null ? "" : $" ({reason})";
}
