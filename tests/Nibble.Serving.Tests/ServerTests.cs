using System.Diagnostics;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests;

/// <summary>Several real servers on one PostgreSQL, and what happens when one of them, or the database, is gone.</summary>
[Collection("service")]
public class ServerTests(PostgresServer server)
{
    [Fact]
    public async Task A_server_that_is_killed_loses_its_job_to_another_which_comes_to_the_same_losses()
    {
        string[] options = ["--database", await server.NewDatabaseAsync(), "--lease", "2.5"];
        await using Service first = await Service.StartAsync(options);
        await using Service second = await first.JoinAsync(options);
        string id = await first.CreateAsync(Service.Request("moved", Undisturbed.Steps));
        await first.UntilSavedAsync(id, "moved");
        (Service killed, Service other) = first.HasWorker ? (first, second) : (second, first);
        Assert.False(other.HasWorker);
        await killed.WorkerAsync();
        await killed.KillAsync();
        JsonObject job = await other.UntilAsync(id, "completed");
        Assert.Equal(2, job["attempts"]!.GetValue<int>());
        await Undisturbed.AssertSameAsync(other, "moved");
        IReadOnlyList<(string Status, string Reason)> changes = await other.ChangesAsync(id);
        Assert.Equal(["pending", "running", "pending", "running", "completed"], changes.Select(change => change.Status));
        Assert.Contains("is silent", changes[2].Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_server_and_a_worker_that_were_paused_write_nothing_when_they_wake()
    {
        string database = await server.NewDatabaseAsync();
        string[] options = ["--database", database, "--lease", "2.5"];
        await using Service first = await Service.StartAsync(options);
        string id = await first.CreateAsync(Service.Request("fenced", Undisturbed.Steps));
        await first.UntilSavedAsync(id, "fenced");
        int old = await first.WorkerAsync();
        Service.Pause(first.Id);
        Service.Pause(old);
        await using Service second = await first.JoinAsync(options);
        await second.UntilAsync(id, job => job["attempts"]!.GetValue<int>() == 2);
        await Service.UntilGoneAsync(old); // The next one ended it, so it never wakes.
        Service.GoOn(first.Id);
        JsonObject job = await second.UntilAsync(id, "completed");
        Assert.Equal(2, job["attempts"]!.GetValue<int>());
        Assert.Equal(Undisturbed.Steps, second.Losses("fenced").Count);
        Assert.Equal(["pending", "running", "pending", "running", "completed"], (await second.ChangesAsync(id)).Select(change => change.Status));
        string? steps = await PostgresServer.AskAsync(
            database, "SELECT COUNT(*) - COUNT(DISTINCT \"Data\"::json ->> 'step') FROM \"Events\" WHERE \"Kind\" = 'metrics' AND \"Number\" > (SELECT MAX(\"Number\") FROM \"Events\" WHERE \"Data\" LIKE '%resumes%')");
        Assert.Equal("0", steps); // No step was told twice since.
        Assert.Equal("ok", (await first.GetAsync("/health"))["status"]!.GetValue<string>());
    }

    [Fact]
    public async Task A_job_is_cancelled_and_paused_within_a_second_or_so_whichever_server_is_asked()
    {
        string[] options = ["--database", await server.NewDatabaseAsync()];
        await using Service first = await Service.StartAsync(options);
        string id = await first.CreateAsync(Service.Request("stopped", 100_000));
        await first.UntilSavedAsync(id, "stopped");
        int worker = await first.WorkerAsync();
        await using Service second = await first.JoinAsync(options);
        Assert.Equal("paused", (await second.PostAsync($"/v1/jobs/{id}/pause"))["status"]!.GetValue<string>());
        await Service.UntilGoneAsync(worker);
        Assert.Equal("pending", (await first.PostAsync($"/v1/jobs/{id}/resume"))["status"]!.GetValue<string>());
        await first.UntilAsync(id, item => item["status"]!.GetValue<string>() == "running" && item["attempts"]!.GetValue<int>() == 2);
        Service busy = await Service.WithWorkerAsync(first, second);
        Service asked = busy == first ? second : first;
        var clock = Stopwatch.StartNew();
        Task<HttpResponseMessage> response = asked.Client.DeleteAsync($"/v1/jobs/{id}");
        await busy.UntilNoWorkerAsync();
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(1), $"it took {clock.Elapsed}");
        using HttpResponseMessage answer = await response;
        Assert.Equal("cancelled", (await Service.BodyAsync(answer))["status"]!.GetValue<string>());
        Assert.NotEmpty(Directory.GetDirectories(first["outputs/stopped"], "checkpoint-*"));
    }

    [Fact]
    public async Task A_database_that_is_gone_for_less_than_a_lease_disturbs_no_job()
    {
        await using var own = new PostgresServer();
        string[] options = ["--database", await own.NewDatabaseAsync(), "--lease", "20"];
        await using Service service = await Service.StartAsync(options);
        string id = await service.CreateAsync(Service.Request("undisturbed", 60));
        await service.UntilStepAsync(id, 2);
        await own.StopAsync();
        using HttpResponseMessage gone = await service.Client.GetAsync("/health");
        Assert.Equal(503, (int)gone.StatusCode);
        using HttpResponseMessage none = await service.Client.GetAsync($"/v1/jobs/{id}");
        Assert.Equal(503, (int)none.StatusCode);
        await Task.Delay(TimeSpan.FromSeconds(2));
        await own.StartAsync();
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal(1, job["attempts"]!.GetValue<int>());
        Assert.Equal(60, service.Losses("undisturbed").Count);
        Assert.Equal(["pending", "running", "completed"], (await service.ChangesAsync(id)).Select(change => change.Status));
    }

    [Fact]
    public async Task A_job_whose_lease_was_lost_while_the_database_was_gone_goes_on_from_its_checkpoint()
    {
        await using var own = new PostgresServer();
        string[] options = ["--database", await own.NewDatabaseAsync(), "--lease", "2.5"];
        await using Service service = await Service.StartAsync(options);
        string id = await service.CreateAsync(Service.Request("again", 20));
        await service.UntilSavedAsync(id, "again");
        int worker = await service.WorkerAsync();
        await own.StopAsync();
        Service.Pause(worker); // Or it would be through before its lease is.
        await Task.Delay(TimeSpan.FromSeconds(3));
        Service.GoOn(worker);
        await Service.UntilGoneAsync(worker); // By itself, for nobody says that the job is still its own.
        await own.StartAsync();
        JsonObject job = await service.UntilAsync(id, "completed");
        Assert.Equal(2, job["attempts"]!.GetValue<int>());
        Assert.Equal(20, service.Losses("again").Count);
    }
}
