using k8s;
using k8s.Models;

namespace Nibble.Serving.Clusters;

/// <summary>A worker as a Job of Kubernetes: the user's manifest, which knows image, volumes and nodes, with what the service knows.</summary>
internal static class Manifest
{
    /// <summary>The label that a worker's pod is found by.</summary>
    public const string WorkerLabel = "app.kubernetes.io/instance";

    private const string ServiceLabel = "app.kubernetes.io/managed-by";
    private const int Day = 24 * 60 * 60;

    /// <summary>A Job of one container at least.</summary>
    /// <exception cref="InvalidDataException">The text is something else.</exception>
    public static V1Job Parse(string text)
    {
        try
        {
            V1Job job = KubernetesYaml.Deserialize<V1Job>(text, strict: true);
            return job is { Kind: "Job", ApiVersion: "batch/v1", Spec.Template.Spec.Containers.Count: > 0 } ? job : throw new InvalidDataException("it is no batch/v1 Job with a container");
        }
        catch (YamlDotNet.Core.YamlException exception)
        {
            throw new InvalidDataException($"line {exception.Start.Line}: {exception.GetBaseException().Message}", exception);
        }
    }

    /// <summary>Whether its containers ask for a GPU.</summary>
    public static bool HasGpu(V1Job job) => job.Spec.Template.Spec.Containers.Any(container => container.Resources?.Limits?.ContainsKey("nvidia.com/gpu") == true);

    /// <summary>The Job of a worker.</summary>
    public static V1Job Of(string template, ClusterJob work)
    {
        V1Job job = Parse(template);
        job.Metadata ??= new V1ObjectMeta();
        job.Metadata.Name = work.Name;
        job.Metadata.Labels = With(job.Metadata.Labels, work.Name);
        job.Spec.BackoffLimit = 0;
        job.Spec.TtlSecondsAfterFinished ??= Day;
        V1PodTemplateSpec pod = job.Spec.Template;
        pod.Metadata ??= new V1ObjectMeta();
        pod.Metadata.Labels = With(pod.Metadata.Labels, work.Name);
        pod.Spec.RestartPolicy = "Never";
        pod.Spec.AutomountServiceAccountToken ??= false; // A worker has no business with the cluster.
        V1Container container = pod.Spec.Containers[0];
        container.Command ??= [.. work.Program];
        container.Args = [.. work.Arguments];
        container.TerminationMessagePolicy ??= "FallbackToLogsOnError";
        if (work.Memory is { } memory)
        {
            container.Resources ??= new V1ResourceRequirements();
            container.Resources.Requests ??= new Dictionary<string, ResourceQuantity>();
            container.Resources.Requests.TryAdd("memory", new ResourceQuantity($"{memory}"));
        }

        return job;
    }

    private static Dictionary<string, string> With(IDictionary<string, string>? labels, string name) =>
        new(labels ?? new Dictionary<string, string>()) { [ServiceLabel] = "nibble", [WorkerLabel] = name };
}
