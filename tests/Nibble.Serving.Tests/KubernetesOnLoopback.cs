using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests;

/// <summary>
/// An emulation of what the service asks of a Kubernetes API server: Jobs to create, read and delete, and their pods. It is no Kubernetes: one loop plays
/// scheduler, kubelet and controller, and a pod is a process of this machine that runs its first container's command.
/// </summary>
internal sealed class KubernetesOnLoopback : IDisposable
{
    private const string Jobs = "/apis/batch/v1/namespaces/team/jobs";
    private const string Pods = "/api/v1/namespaces/team/pods";

    private readonly HttpListener listener = new();
    private readonly ConcurrentDictionary<string, Pod> pods = new();
    private readonly string token = Guid.NewGuid().ToString("N");

    public KubernetesOnLoopback()
    {
        var random = new Random();
        for (int tries = 0; ; tries++)
        {
            try
            {
                Address = $"http://127.0.0.1:{random.Next(20_000, 30_000)}";
                listener.Prefixes.Add($"{Address}/");
                listener.Start();
                break;
            }
            catch (HttpListenerException) when (tries < 20)
            {
                listener.Prefixes.Clear();
            }
        }

        _ = ServeAsync();
    }

    private sealed record Pod(JsonObject Job)
    {
        public Process? Process { get; set; }

        public string? Disruption { get; set; }

        public bool OutOfMemory { get; set; }

        public bool IsDeleted { get; set; }

        public bool IsRunning => Process is { HasExited: false };
    }

    public string Address { get; }

    /// <summary>Whether it answers with anything but failures.</summary>
    public bool IsWell { get; set; } = true;

    /// <summary>Whether pods get a machine.</summary>
    public bool HasRoom { get; set; } = true;

    /// <summary>The Jobs that were ever created, in their order.</summary>
    public ConcurrentQueue<JsonObject> Created { get; } = new();

    /// <summary>What a user of the cluster has in <c>~/.kube/config</c>.</summary>
    public string Kubeconfig => $$"""
        apiVersion: v1
        kind: Config
        current-context: test
        clusters: [{ name: test, cluster: { server: '{{Address}}' } }]
        users: [{ name: test, user: { token: '{{token}}' } }]
        contexts: [{ name: test, context: { cluster: test, user: test, namespace: team } }]
        """;

    public int ProcessOf(string name) => pods[name].Process!.Id;

    /// <summary>Takes a pod's machine away.</summary>
    public void Evict(string name)
    {
        pods[name].Disruption = "EvictionByEvictionAPI";
        pods[name].Process!.Kill();
    }

    /// <summary>Kills a pod as the kernel does for want of memory.</summary>
    public void Starve(string name)
    {
        pods[name].OutOfMemory = true;
        pods[name].Process!.Kill();
    }

    public void Dispose()
    {
        listener.Close();
        foreach (Process process in pods.Values.Select(pod => pod.Process).OfType<Process>())
        {
            process.Kill();
            process.Dispose();
        }
    }

    private async Task ServeAsync()
    {
        while (listener.IsListening)
        {
            HttpListenerContext context;
            try
            {
                context = await listener.GetContextAsync();
            }
            catch (Exception exception) when (exception is HttpListenerException or ObjectDisposedException)
            {
                return;
            }

            (int status, JsonObject body) = await AnswerAsync(context.Request);
            context.Response.StatusCode = status;
            context.Response.ContentType = "application/json";
            context.Response.Close(Encoding.UTF8.GetBytes(body.ToJsonString()), willBlock: false);
        }
    }

    private async Task<(int Status, JsonObject Body)> AnswerAsync(HttpListenerRequest request)
    {
        string path = request.Url!.AbsolutePath;
        string name = path.Split('/')[^1];
        if (request.Headers["Authorization"] != $"Bearer {token}")
        {
            return Failure(401, "Unauthorized");
        }

        if (!IsWell)
        {
            return Failure(503, "etcdserver: request timed out");
        }

        if (path == Jobs && request.HttpMethod == "POST")
        {
            using var reader = new StreamReader(request.InputStream);
            return Create(JsonNode.Parse(await reader.ReadToEndAsync())!.AsObject(), isDry: request.QueryString["dryRun"] == "All");
        }

        if (path == Pods)
        {
            string of = request.QueryString["labelSelector"]!.Split('=')[1];
            return (200, new JsonObject { ["kind"] = "PodList", ["apiVersion"] = "v1", ["items"] = pods.TryGetValue(of, out Pod? its) && !its.IsDeleted ? new JsonArray(View(its)) : [] });
        }

        if (!path.StartsWith($"{Jobs}/", StringComparison.Ordinal) || !pods.TryGetValue(name, out Pod? pod) || (pod.IsDeleted && !pod.IsRunning))
        {
            return Failure(404, $"jobs.batch \"{name}\" not found");
        }

        if (request.HttpMethod == "DELETE")
        {
            pod.IsDeleted = true;
            if (pod.IsRunning)
            {
                Service.Send("-TERM", pod.Process!.Id);
            }
        }

        return (200, WithStatus(pod));
    }

    private (int Status, JsonObject Body) Create(JsonObject job, bool isDry)
    {
        JsonObject pod = job["spec"]!["template"]!.AsObject();
        string name = job["metadata"]!["name"]!.GetValue<string>();
        if (pod["spec"]!["restartPolicy"]?.GetValue<string>() != "Never" || pod["spec"]!["containers"]![0]!["image"] is null)
        {
            return Failure(422, $"Job.batch \"{name}\" is invalid: spec.template.spec.containers[0].image: Required value");
        }

        if (isDry)
        {
            return (201, job);
        }

        if (!pods.TryAdd(name, new Pod(job)))
        {
            return Failure(409, $"jobs.batch \"{name}\" already exists");
        }

        Created.Enqueue(job);
        return (201, job);
    }

    private JsonObject WithStatus(Pod pod)
    {
        if (pod.Process is null && HasRoom && !pod.IsDeleted)
        {
            JsonNode container = pod.Job["spec"]!["template"]!["spec"]!["containers"]![0]!;
            string[] command = [.. container["command"]!.AsArray().Concat(container["args"]!.AsArray()).Select(word => word!.GetValue<string>())];
            pod.Process = Process.Start(new ProcessStartInfo(command[0], command.Skip(1)) { RedirectStandardError = true });
        }

        JsonObject job = pod.Job.DeepClone().AsObject();
        if (pod.IsDeleted)
        {
            job["metadata"]!["deletionTimestamp"] = "2026-01-01T00:00:00Z";
        }

        if (pod.Process is { HasExited: true } ended)
        {
            job["status"] = new JsonObject { ["conditions"] = new JsonArray(new JsonObject { ["type"] = ended.ExitCode == 0 ? "Complete" : "Failed", ["status"] = "True", ["reason"] = "BackoffLimitExceeded" }) };
        }

        return job;
    }

    private static JsonObject View(Pod pod)
    {
        JsonObject state = pod.Process is null ? new() { ["waiting"] = new JsonObject { ["reason"] = "ContainerCreating" } }
            : pod.Process.HasExited ? new() { ["terminated"] = new JsonObject { ["exitCode"] = pod.Process.ExitCode, ["reason"] = pod.OutOfMemory ? "OOMKilled" : "Error" } }
            : new() { ["running"] = new JsonObject() };
        var view = new JsonObject
        {
            ["metadata"] = new JsonObject { ["name"] = "pod", ["creationTimestamp"] = "2026-01-01T00:00:00Z" },
            ["spec"] = new JsonObject { ["nodeName"] = "node1", ["containers"] = new JsonArray() },
            ["status"] = new JsonObject { ["containerStatuses"] = new JsonArray(new JsonObject { ["name"] = "worker", ["image"] = "", ["imageID"] = "", ["ready"] = true, ["restartCount"] = 0, ["state"] = state }) },
        };
        if (pod.Disruption is not null)
        {
            view["status"]!["conditions"] = new JsonArray(new JsonObject { ["type"] = "DisruptionTarget", ["status"] = "True", ["reason"] = pod.Disruption });
        }

        return view;
    }

    private static (int Status, JsonObject Body) Failure(int status, string message) =>
        (status, new JsonObject { ["kind"] = "Status", ["apiVersion"] = "v1", ["status"] = "Failure", ["message"] = message, ["code"] = status });
}
