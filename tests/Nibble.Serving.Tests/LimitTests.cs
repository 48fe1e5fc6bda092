using System.Diagnostics;
using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests;

/// <summary>What jobs may take: memory, places in the queue, disk and time.</summary>
[Collection("service")]
public class LimitTests
{
    [Fact]
    public async Task A_job_that_cannot_fit_is_refused_with_the_numbers_and_one_that_must_wait_waits()
    {
        await using Service service = await Service.StartAsync("--memory", "600MiB", "--concurrency", "3", "--queue", "2");
        JsonObject large = Service.Request("large", config: new JsonObject { ["data.max_length"] = 512, ["training.per_device_train_batch_size"] = 256 });
        using HttpResponseMessage refused = await service.Client.PostAsJsonAsync("/v1/jobs", large);
        string problem = (await Service.BodyAsync(refused))["errors"]!["config"]![0]!.GetValue<string>();
        Assert.Equal(HttpStatusCode.UnprocessableEntity, refused.StatusCode);
        Assert.Matches(@"^the run needs about [\d.]+ (M|G)iB \(.* [\d.]+ MiB.*\); cpu has 600 MiB for jobs$", problem);

        string first = await service.CreateAsync(Service.Request("first", 100_000));
        long bytes = (await service.UntilAsync(first, "running"))["memory_bytes"]!.GetValue<long>();
        Assert.InRange(bytes, 220L << 20, 299L << 20); // Two fit into 600 MiB, a third does not.
        string second = await service.CreateAsync(Service.Request("second", 100_000));
        await service.UntilAsync(second, "running");
        string third = await service.CreateAsync(Service.Request("third"));
        string fourth = await service.CreateAsync(Service.Request("fourth"));
        using HttpResponseMessage full = await service.Client.PostAsJsonAsync("/v1/jobs", Service.Request("fifth"));
        Assert.Equal(HttpStatusCode.TooManyRequests, full.StatusCode);
        await service.UntilStepAsync(second, 1);
        Assert.Equal(("pending", "pending"), (Status(await service.ReadAsync(third)), Status(await service.ReadAsync(fourth))));
        using HttpResponseMessage cancelled = await service.Client.DeleteAsync($"/v1/jobs/{first}");
        await service.UntilAsync(third, "completed");
    }

    [Fact]
    public async Task A_job_is_paused_when_the_disk_quota_is_used_up_and_can_go_on_when_there_is_room()
    {
        await using Service service = await Service.StartAsync("--disk-quota", "20MB");
        string id = await service.CreateAsync(Service.Request("large", 20));
        await service.UntilStepAsync(id, 1);
        File.WriteAllBytes(service["outputs/other"], new byte[20_000_000]);
        await service.UntilAsync(id, "paused");
        Assert.NotEmpty(Directory.GetDirectories(service["outputs/large"], "checkpoint-*"));
        using HttpResponseMessage refused = await service.Client.PostAsJsonAsync("/v1/jobs", Service.Request("next"));
        Assert.Equal(HttpStatusCode.InsufficientStorage, refused.StatusCode);
        Assert.Contains("--disk-quota is 19.1 MiB", (await Service.BodyAsync(refused))["detail"]!.GetValue<string>(), StringComparison.Ordinal);
        await service.PostAsync($"/v1/jobs/{id}/resume");
        await Task.Delay(TimeSpan.FromSeconds(1));
        Assert.Equal("pending", Status(await service.ReadAsync(id))); // It waits for room.
        File.Delete(service["outputs/other"]);
        await service.UntilAsync(id, "completed");
        Assert.Equal(20, service.Losses("large").Count);
        Assert.Contains(await service.ChangesAsync(id), change => change.Status == "paused" && change.Reason.StartsWith("outputs and files take", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_job_that_runs_for_longer_than_it_may_fails_and_keeps_its_checkpoint()
    {
        await using Service service = await Service.StartAsync("--max-run-time", "6");
        string id = await service.CreateAsync(Service.Request("long", 100_000));
        var clock = Stopwatch.StartNew();
        await service.UntilStepAsync(id, 1);
        await service.PostAsync($"/v1/jobs/{id}/pause"); // What it has run counts, and not the pause.
        TimeSpan ran = clock.Elapsed;
        await Task.Delay(TimeSpan.FromSeconds(1));
        await service.PostAsync($"/v1/jobs/{id}/resume");
        clock.Restart();
        JsonObject job = await service.UntilAsync(id, "failed");
        Assert.InRange((ran + clock.Elapsed).TotalSeconds, 5.5, 12);
        Assert.Contains("the 6 s that --max-run-time allows", job["error"]!.GetValue<string>(), StringComparison.Ordinal);
        Assert.NotEmpty(Directory.GetDirectories(service["outputs/long"], "checkpoint-*"));
    }

    [Fact]
    public async Task Limits_that_make_no_sense_are_refused()
    {
        await using Service service = await Service.StartAsync();
        foreach ((string[] options, string word) in new (string[], string)[]
        {
            (["--memory", "much"], "'much'"), (["--disk-quota", "-1GB"], "'-1GB'"), (["--queue", "0"], "--queue"), (["--max-run-time", "0"], "--max-run-time"), (["--lease", "1"], "--lease"),
        })
        {
            (int code, string error) = await service.RefuseAsync(options);
            Assert.Equal(2, code);
            Assert.Contains(word, error, StringComparison.Ordinal);
        }
    }

    private static string Status(JsonObject job) => job["status"]!.GetValue<string>();
}
