using System.Diagnostics;
using System.Net;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests;

/// <summary>Jobs as they run, end, are stopped and go on.</summary>
[Collection("service")] // Services that share the processors would only wait for each other.
public class JobTests
{
    [Fact]
    public async Task A_job_completes_and_leaves_its_adapter()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("tuned"));
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal(1, job["progress"]!.GetValue<double>());
        Assert.Equal((6, 6, 1), (job["step"]!.GetValue<int>(), job["total_steps"]!.GetValue<int>(), job["attempts"]!.GetValue<int>()));
        Assert.Equal(service.Losses("tuned")[^1], job["metrics"]!["loss"]!.GetValue<double>());
        Assert.Null(job["error"]);
        Assert.NotEmpty(service.Weights("tuned"));
        JsonObject adapter = JsonNode.Parse(File.ReadAllText(service["outputs/tuned/adapter_config.json"]))!.AsObject();
        Assert.Equal(8, adapter["r"]!.GetValue<int>());
    }

    [Fact]
    public async Task A_cancelled_job_stops_within_a_second_and_keeps_a_checkpoint()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("stopped", 100_000));
        string waiting = await service.CreateAsync(Service.Request("waiting"));
        await service.UntilSavedAsync(id, "stopped");
        Service.Pause(await service.WorkerAsync()); // Nor does it help that it does not listen.
        var clock = Stopwatch.StartNew();
        using HttpResponseMessage response = await service.Client.DeleteAsync($"/v1/jobs/{id}");
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(1), $"it took {clock.Elapsed}");
        Assert.Equal("cancelled", (await Service.BodyAsync(response))["status"]!.GetValue<string>());
        Assert.NotEmpty(Directory.GetDirectories(service["outputs/stopped"], "checkpoint-*"));
        using HttpResponseMessage again = await service.Client.DeleteAsync($"/v1/jobs/{id}");
        Assert.Equal(HttpStatusCode.Conflict, again.StatusCode);
        await service.UntilAsync(waiting, "completed");
    }

    [Fact]
    public async Task A_job_that_waits_for_its_turn_can_be_cancelled()
    {
        await using Service service = await Service.StartAsync();
        string first = await service.CreateAsync(Service.Request("first", 100_000));
        string second = await service.CreateAsync(Service.Request("second"));
        using HttpResponseMessage response = await service.Client.DeleteAsync($"/v1/jobs/{second}");
        Assert.Equal("cancelled", (await Service.BodyAsync(response))["status"]!.GetValue<string>());
        using HttpResponseMessage other = await service.Client.DeleteAsync($"/v1/jobs/{first}");
        Assert.Equal("cancelled", (await Service.BodyAsync(other))["status"]!.GetValue<string>());
        Assert.False(Directory.Exists(service["outputs/second"]));
    }

    [Fact]
    public async Task A_worker_that_is_killed_is_replaced_and_the_run_comes_to_the_same_weights()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("killed", Undisturbed.Steps));
        await service.UntilSavedAsync(id, "killed");
        Service.Kill(await service.WorkerAsync());
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal(2, job["attempts"]!.GetValue<int>());
        await Undisturbed.AssertSameAsync(service, "killed");
    }

    [Fact]
    public async Task A_job_whose_workers_keep_dying_fails_in_the_end()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("cursed", 100_000));
        for (int i = 0; i < 4; i++)
        {
            await service.UntilAsync(id, job => job["status"]!.GetValue<string>() == "running" && job["attempts"]!.GetValue<int>() == i + 1);
            Service.Kill(await service.WorkerAsync());
        }

        JsonObject job = await service.UntilAsync(id, "failed");
        Assert.Contains("killed by signal 9", job["error"]!.GetValue<string>(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_service_that_is_killed_goes_on_with_its_jobs_when_it_is_started_again()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("halves", Undisturbed.Steps));
        string next = await service.CreateAsync(Service.Request("next"));
        await service.UntilSavedAsync(id, "halves");
        await service.WorkerAsync();
        await service.KillAsync();
        await service.StartAgainAsync();
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal(2, job["attempts"]!.GetValue<int>());
        await Undisturbed.AssertSameAsync(service, "halves");
        await service.UntilAsync(next, "completed");
    }

    [Fact]
    public async Task A_paused_job_goes_on_where_it_was_and_comes_to_the_same_weights()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("paused", Undisturbed.Steps, new JsonObject { ["training.save_steps"] = 1000 }));
        await service.UntilStepAsync(id, 1);
        Assert.Equal("paused", (await service.PostAsync($"/v1/jobs/{id}/pause"))["status"]!.GetValue<string>());
        Assert.False(service.HasWorker);
        Assert.Single(Directory.GetDirectories(service["outputs/paused"], "checkpoint-*"));
        Assert.Equal("paused", (await service.PostAsync($"/v1/jobs/{id}/pause"))["status"]!.GetValue<string>());
        string waiting = await service.CreateAsync(Service.Request("next", 2)); // A paused job is in nobody's way.
        await service.UntilAsync(waiting, "completed");
        await service.PostAsync($"/v1/jobs/{id}/resume");
        await service.PostAsync($"/v1/jobs/{id}/resume", expected: 409);
        await service.UntilAsync(id, "completed");
        await service.PostAsync($"/v1/jobs/{id}/pause", expected: 409);
        await service.PostAsync("/v1/jobs/job-0/pause", expected: 404);
        await service.PostAsync("/v1/jobs/job-0/resume", expected: 404);
        await Undisturbed.AssertSameAsync(service, "paused");
        Assert.Equal(["pending", "running", "paused", "pending", "running", "completed"], (await service.ChangesAsync(id)).Select(change => change.Status));
    }

    [Fact]
    public async Task A_worker_that_says_nothing_any_more_is_replaced()
    {
        await using Service service = await Service.StartAsync("--lease", "2.5");
        string id = await service.CreateAsync(Service.Request("silent", Undisturbed.Steps));
        await service.UntilSavedAsync(id, "silent");
        Service.Pause(await service.WorkerAsync());
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal(2, job["attempts"]!.GetValue<int>());
        Assert.Equal(Undisturbed.Steps, service.Losses("silent").Count);
        Assert.Contains("said nothing for 2.5 s", (await service.ChangesAsync(id))[2].Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_worker_that_was_paused_when_its_service_was_killed_never_writes_again()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("fenced", Undisturbed.Steps));
        await service.UntilSavedAsync(id, "fenced");
        int old = await service.WorkerAsync();
        Service.Pause(old);
        await service.KillAsync();
        await service.StartAgainAsync();
        await Service.UntilGoneAsync(old);
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal(2, job["attempts"]!.GetValue<int>());
        Assert.Equal(Undisturbed.Steps, service.Losses("fenced").Count);
    }

    [Fact]
    public async Task A_service_without_jobs_rests()
    {
        await using Service service = await Service.StartAsync();
        await Task.Delay(TimeSpan.FromSeconds(1)); // For what starting leaves to do.
        TimeSpan before = service.ProcessorTime;
        await Task.Delay(TimeSpan.FromSeconds(3));
        TimeSpan used = service.ProcessorTime - before;
        Assert.True(used < TimeSpan.FromSeconds(0.5), $"it computed for {used}");
    }

    [Fact]
    public async Task A_service_that_is_asked_to_end_lets_its_job_save_and_goes_on_later()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("drained", Undisturbed.Steps, new JsonObject { ["training.save_steps"] = 1000 }));
        await service.UntilStepAsync(id, 1);
        Assert.Equal(0, await service.TerminateAsync());
        Assert.Single(Directory.GetDirectories(service["outputs/drained"], "checkpoint-*"));
        await service.StartAgainAsync();
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal(2, job["attempts"]!.GetValue<int>());
        Assert.Equal(Undisturbed.Steps, service.Losses("drained").Count);
    }

    [Fact]
    public async Task A_users_error_fails_the_job_at_once_with_the_programs_own_words()
    {
        await using Service service = await Service.StartAsync();
        File.WriteAllText(service["data/broken.jsonl"], "{\"instruction\": \"no answer\"}\n");
        JsonObject request = Service.Request("broken");
        request["training_data_path"] = "broken.jsonl";
        string id = await service.CreateAsync(request);
        JsonObject job = await service.UntilAsync(id, "failed");
        Assert.Contains("broken.jsonl", job["error"]!.GetValue<string>(), StringComparison.Ordinal);
        Assert.DoesNotContain('\n', job["error"]!.GetValue<string>());
        Assert.Equal(1, job["attempts"]!.GetValue<int>());
    }
}
