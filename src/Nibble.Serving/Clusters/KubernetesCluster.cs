using System.Net;
using System.Text.Json;
using k8s;
using k8s.Autorest;
using k8s.Exceptions;
using k8s.Models;

namespace Nibble.Serving.Clusters;

/// <summary>
/// Kubernetes, through its API: a worker is a Job of one pod that is tried once, for whether another attempt is to be made, the service decides. It is asked as
/// <c>kubectl</c> would ask, or from within with the pod's service account.
/// </summary>
internal sealed class KubernetesCluster : ICluster
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    private readonly string template;
    private readonly Kubernetes client;
    private readonly string space;
    private readonly Uri address;

    /// <param name="path">The file of a Job's manifest, which names the image and mounts the service's folders.</param>
    /// <exception cref="ArgumentException">It is no such manifest, or it is not known where the cluster is.</exception>
    public KubernetesCluster(string path)
    {
        try
        {
            template = File.ReadAllText(path);
            V1Job job = Manifest.Parse(template);
            KubernetesClientConfiguration configuration = KubernetesClientConfiguration.BuildDefaultConfig();
            configuration.HttpClientTimeout = Patience;
            HasGpu = Manifest.HasGpu(job);
            space = job.Metadata?.NamespaceProperty ?? configuration.Namespace ?? "default";
            address = new Uri(configuration.Host);
            client = new Kubernetes(configuration);
        }
        catch (KubeConfigException exception)
        {
            throw new ArgumentException($"--executor kubernetes: {exception.Message}", exception);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or InvalidDataException)
        {
            throw new ArgumentException($"--job-template cannot be used: {exception.Message}", exception);
        }
    }

    public string Name => "kubernetes";

    public bool HasGpu { get; }

    /// <summary>Jobs stay for a day when they are over, so whoever made it go was a user of the cluster.</summary>
    public ClusterState Forgotten => new(ClusterPhase.Cancelled, "Job was deleted");

    public async Task CheckAsync(CancellationToken cancellation)
    {
        try
        {
            V1Job job = Manifest.Of(template, new ClusterJob("nibble-check", "/", ["nibble"], ["worker"], null));
            await AskAsync(() => client.BatchV1.CreateNamespacedJobAsync(job, space, dryRun: "All", cancellationToken: cancellation)).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is ClusterUnreachableException or ClusterRefusalException)
        {
            throw new ArgumentException($"--executor kubernetes: {exception.Message}", exception);
        }
    }

    public async Task SubmitAsync(ClusterJob job)
    {
        V1Job manifest = Manifest.Of(template, job);
        await AskAsync(() => client.BatchV1.CreateNamespacedJobAsync(manifest, space), isFine: HttpStatusCode.Conflict).ConfigureAwait(false);
    }

    public async Task<ClusterState?> FindAsync(string name)
    {
        try
        {
            V1Job? job = await AskAsync(() => client.BatchV1.ReadNamespacedJobAsync(name, space), isFine: HttpStatusCode.NotFound).ConfigureAwait(false);
            V1PodList? pods = job is null ? null : await AskAsync(() => client.CoreV1.ListNamespacedPodAsync(space, labelSelector: $"{Manifest.WorkerLabel}={name}")).ConfigureAwait(false);
            return job is null ? null : JobState.Of(job, pods!.Items.OrderBy(pod => pod.Metadata.CreationTimestamp).LastOrDefault());
        }
        catch (ClusterRefusalException exception)
        {
            throw new ClusterUnreachableException(exception.Message, exception); // It may answer again, and the worker goes on.
        }
    }

    public async Task EndAsync(string name)
    {
        try
        {
            // The Job is there until its pod is gone.
            await AskAsync(() => client.BatchV1.DeleteNamespacedJobAsync(name, space, propagationPolicy: "Foreground"), isFine: HttpStatusCode.NotFound).ConfigureAwait(false);
        }
        catch (ClusterRefusalException exception)
        {
            throw new ClusterUnreachableException(exception.Message, exception);
        }
    }

    public void Dispose() => client.Dispose();

    /// <summary>An answer; null for a refusal that is fine.</summary>
    private async Task<T?> AskAsync<T>(Func<Task<T>> question, HttpStatusCode? isFine = null)
        where T : class
    {
        try
        {
            return await question().ConfigureAwait(false);
        }
        catch (HttpOperationException exception) when (exception.Response.StatusCode == isFine)
        {
            return null;
        }
        catch (HttpOperationException exception)
        {
            string words = $"the API server at {address.Authority} says: {WordsOf(exception)}";
            throw (int)exception.Response.StatusCode >= 500 || exception.Response.StatusCode is HttpStatusCode.TooManyRequests or HttpStatusCode.RequestTimeout
                ? new ClusterUnreachableException(words, exception)
                : new ClusterRefusalException(words);
        }
        catch (Exception exception) when (exception is HttpRequestException or TaskCanceledException or IOException or KubernetesClientException)
        {
            throw new ClusterUnreachableException($"the API server at {address.Authority} cannot be reached: {exception.GetBaseException().Message}", exception);
        }
    }

    /// <summary>The message of the status that the API server answers with.</summary>
    private static string WordsOf(HttpOperationException exception)
    {
        try
        {
            return KubernetesJson.Deserialize<V1Status>(exception.Response.Content).Message ?? exception.Message;
        }
        catch (JsonException)
        {
            return $"{(int)exception.Response.StatusCode} {exception.Response.ReasonPhrase}";
        }
    }
}
