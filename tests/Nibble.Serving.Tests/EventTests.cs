using System.Net;
using System.Net.ServerSentEvents;
using System.Text.Json.Nodes;
using Nibble.Serving.Keys;

namespace Nibble.Serving.Tests;

/// <summary>The stream of what happens to a job.</summary>
[Collection("service")]
public class EventTests
{
    [Fact]
    public async Task Events_come_while_the_job_runs_and_can_be_taken_up_after_the_last_one()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("followed"));
        List<SseItem<string>> all = await FollowAsync(service, id, after: null); // Ends with the job.
        Assert.Equal(["pending", "running", "completed"], all.Where(item => item.EventType == "status").Select(item => Field(item, "status").GetValue<string>()));
        Assert.All(all.Where(item => item.EventType == "status"), item => Assert.NotEmpty(Field(item, "reason").GetValue<string>()));
        Assert.Equal(service.Losses("followed"), all.Where(item => item.EventType == "metrics").Select(item => Field(item, "loss").GetValue<double>()));
        Assert.Contains(all, item => item.EventType == "log" && Field(item, "message").GetValue<string>().StartsWith("trainable params", StringComparison.Ordinal));
        Assert.Equal(all[4..].Select(item => item.Data), (await FollowAsync(service, id, all[3].EventId)).Select(item => item.Data));
        Assert.Empty(await FollowAsync(service, id, all[^1].EventId));
    }

    [Fact]
    public async Task Events_of_no_job_or_after_no_number_are_refused()
    {
        await using Service service = await Service.StartAsync();
        using HttpResponseMessage missing = await service.Client.GetAsync("/v1/jobs/job-0/events");
        Assert.Equal(HttpStatusCode.NotFound, missing.StatusCode);
        using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/jobs/job-0/events") { Headers = { { "Last-Event-ID", "last" } } };
        using HttpResponseMessage wrong = await service.Client.SendAsync(request);
        Assert.Equal(HttpStatusCode.UnprocessableEntity, wrong.StatusCode);
    }

    [Fact]
    public async Task A_service_that_ends_does_not_wait_for_those_who_listen()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("endless", 100_000));
        Task<List<SseItem<string>>> listening = FollowAsync(service, id, after: null);
        await service.UntilStepAsync(id, 2);
        Assert.Equal(0, await service.TerminateAsync());
        Assert.NotEmpty(await listening.WaitAsync(TimeSpan.FromSeconds(10)));
    }

    [Fact]
    public async Task Who_listens_hears_no_more_once_the_key_is_revoked_and_nobody_hears_where_folders_lie()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("endless", 100_000));
        await service.UntilSavedAsync(id, "endless");
        Service.Kill(await service.WorkerAsync()); // The next one names the checkpoint that it goes on from.
        await service.UntilAsync(id, job => job["attempts"]!.GetValue<int>() == 2);
        (string revoked, string text) = await service.KeyAsync(KeyScope.Read);
        using var stranger = new HttpClient { BaseAddress = service.Client.BaseAddress, DefaultRequestHeaders = { Authorization = new("Bearer", text) } };
        (string heard, StreamReader more) = await Service.ListenForAsync(stranger, id, "Resumed from outputs/endless/checkpoint-");
        using (more)
        {
            Assert.Equal(0, (await service.RunAsync("keys", "revoke", revoked)).Code);
            string rest = await more.ReadToEndAsync().WaitAsync(TimeSpan.FromSeconds(10)); // Though the job goes on.
            Assert.DoesNotContain(service["outputs"], heard + rest, StringComparison.Ordinal);
        }
    }

    private static JsonNode Field(SseItem<string> item, string name) => JsonNode.Parse(item.Data)![name]!;

    private static async Task<List<SseItem<string>>> FollowAsync(Service service, string id, string? after)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/v1/jobs/{id}/events");
        if (after is not null)
        {
            request.Headers.Add("Last-Event-ID", after);
        }

        using HttpResponseMessage response = await service.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        var items = new List<SseItem<string>>();
        await foreach (SseItem<string> item in SseParser.Create(await response.Content.ReadAsStreamAsync()).EnumerateAsync())
        {
            items.Add(item);
        }

        return items;
    }
}
