using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests;

/// <summary>Jobs that the service hands to Kubernetes: to an emulation of its API server, for a real one is not to be had here.</summary>
[Collection("service")]
public class KubernetesExecutorTests
{

    private const string Template = """
        apiVersion: batch/v1
        kind: Job
        metadata: { labels: { team: blue } }
        spec:
          template:
            spec:
              containers:
                - name: worker
                  image: nibble
                  volumeMounts: [{ name: data, mountPath: /srv/nibble }]
              volumes: [{ name: data, persistentVolumeClaim: { claimName: nibble } }]
        """;

    [Fact]
    public async Task A_job_comes_to_the_same_losses_also_when_its_pod_is_evicted_and_its_server_is_killed()
    {
        using var cluster = new KubernetesOnLoopback();
        await using Service service = Service.New();
        await StartAsync(service, cluster);
        string id = await service.CreateAsync(Service.Request("there", Undisturbed.Steps));
        await service.UntilSavedAsync(id, "there");
        cluster.Evict($"nibble-{id}-1");
        await service.UntilAsync(id, job => job["attempts"]!.GetValue<int>() == 2);
        await service.UntilAsync(id, "running");
        await service.KillAsync();
        await StartAsync(service, cluster);
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal(3, job["attempts"]!.GetValue<int>());
        await Undisturbed.AssertSameAsync(service, "there");
        Assert.Equal([$"nibble-{id}-1", $"nibble-{id}-2"], cluster.Created.Select(created => created["metadata"]!["name"]!.GetValue<string>()));
        IReadOnlyList<(string Status, string Reason)> changes = await service.ChangesAsync(id);
        Assert.Equal(["pending", "pending", "running", "pending", "pending", "running", "running", "completed"], changes.Select(change => change.Status));
        Assert.StartsWith($"kubernetes Job nibble-{id}-1 was disrupted (EvictionByEvictionAPI); another worker goes on", changes[3].Reason, StringComparison.Ordinal);

        JsonObject manifest = cluster.Created.First();
        JsonNode pod = manifest["spec"]!["template"]!;
        Assert.Equal(0, manifest["spec"]!["backoffLimit"]!.GetValue<int>());
        Assert.False(pod["spec"]!["automountServiceAccountToken"]!.GetValue<bool>());
        Assert.Equal(("blue", "nibble"), (manifest["metadata"]!["labels"]!["team"]!.GetValue<string>(), manifest["metadata"]!["labels"]!["app.kubernetes.io/managed-by"]!.GetValue<string>()));
        Assert.Equal($"{job["memory_bytes"]}", pod["spec"]!["containers"]![0]!["resources"]!["requests"]!["memory"]!.GetValue<string>());
        Assert.DoesNotContain(Service.Secret, manifest.ToJsonString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_job_waits_for_room_and_for_an_API_server_that_is_not_well_and_is_cancelled_where_it_runs()
    {
        using var cluster = new KubernetesOnLoopback { HasRoom = false };
        await using Service service = Service.New();
        await StartAsync(service, cluster);
        string id = await service.CreateAsync(Service.Request("patient", 100_000));
        (_, StreamReader more) = await Service.ListenForAsync(service.Client, id, "is pending (ContainerCreating)");
        more.Dispose();
        cluster.IsWell = false;
        await Task.Delay(TimeSpan.FromSeconds(1.5));
        Assert.Equal("pending", (await service.ReadAsync(id))["status"]!.GetValue<string>());
        (cluster.IsWell, cluster.HasRoom) = (true, true);
        await service.UntilSavedAsync(id, "patient");
        int process = cluster.ProcessOf($"nibble-{id}-1");
        using HttpResponseMessage response = await service.Client.DeleteAsync($"/v1/jobs/{id}");
        await service.UntilAsync(id, "cancelled");
        await Service.UntilGoneAsync(process);
        string events = await service.Client.GetStringAsync($"/v1/jobs/{id}/events");
        Assert.Contains("does not answer, and is asked again: the API server at 127.0.0.1", events, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_pod_that_is_killed_for_want_of_memory_is_not_tried_again()
    {
        using var cluster = new KubernetesOnLoopback();
        await using Service service = Service.New();
        await StartAsync(service, cluster);
        string id = await service.CreateAsync(Service.Request("large", 100_000));
        await service.UntilStepAsync(id, 1);
        cluster.Starve($"nibble-{id}-1");
        JsonObject job = await service.UntilAsync(id, "failed");
        Assert.Contains("OOMKilled", job["error"]!.GetValue<string>(), StringComparison.Ordinal);
        Assert.Single(cluster.Created);
    }

    [Fact]
    public async Task What_cannot_work_is_refused_at_the_start_in_one_line()
    {
        using var cluster = new KubernetesOnLoopback();
        await using Service service = Service.New();
        File.WriteAllText(service["kubeconfig"], cluster.Kubeconfig);
        service.Variables["KUBECONFIG"] = service["kubeconfig"];
        await RefusedAsync("needs a --job-template", null);
        await RefusedAsync("it is no batch/v1 Job with a container", "apiVersion: v1\nkind: Pod\n");
        await RefusedAsync("--job-template cannot be used: line 5: ", Template.Replace("template:", "tmplate:", StringComparison.Ordinal));
        await RefusedAsync("containers\\[0\\].image: Required value", Template.Replace("image: nibble", "tty: false", StringComparison.Ordinal));
        File.WriteAllText(service["kubeconfig"], cluster.Kubeconfig.Replace("token: '", "token: 'x", StringComparison.Ordinal));
        await RefusedAsync("says: Unauthorized", Template);
        File.WriteAllText(service["kubeconfig"], cluster.Kubeconfig.Replace(cluster.Address, "http://127.0.0.1:1", StringComparison.Ordinal));
        await RefusedAsync("the API server at 127.0.0.1:1 cannot be reached: ", Template);

        async Task RefusedAsync(string words, string? template)
        {
            File.WriteAllText(service["job.yaml"], template ?? "");
            (int code, string error) = await service.RefuseAsync(template is null ? ["--executor", "kubernetes"] : ["--executor", "kubernetes", "--job-template", service["job.yaml"]]);
            Assert.Equal(2, code);
            Assert.Matches($"^nibble: .*{words}", error);
            Assert.DoesNotContain('\n', error);
        }
    }

    private static async Task StartAsync(Service service, KubernetesOnLoopback cluster)
    {
        File.WriteAllText(service["kubeconfig"], cluster.Kubeconfig);
        File.WriteAllText(service["job.yaml"], Template);
        service.Variables["KUBECONFIG"] = service["kubeconfig"];
        await service.StartAgainAsync("--executor", "kubernetes", "--job-template", service["job.yaml"]);
    }
}
