using System.Globalization;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Hosting;
using Nibble.Serving.Jobs;
using Nibble.Serving.Store;

namespace Nibble.Serving.Api;

/// <summary>What happens to a job, as server-sent events, until it is over. Who names the last event it has got receives those after it.</summary>
internal static class EventStream
{
    private const string LastHeader = "Last-Event-ID";

    public static void MapEvents(this IEndpointRouteBuilder jobs) => jobs.MapGet("{id}/events", async (string id, HttpRequest request, JobStore store, IHostApplicationLifetime lifetime) =>
    {
        string last = request.Headers[LastHeader].ToString();
        if (!long.TryParse(last.Length == 0 ? "0" : last, NumberStyles.None, CultureInfo.InvariantCulture, out long after))
        {
            throw new FieldException(LastHeader, $"is '{last}'; it must be the id of an event");
        }

        return await store.FindAsync(id, request.HttpContext.RequestAborted).ConfigureAwait(false) is { } job
            ? Results.ServerSentEvents(FollowAsync(job, after, store, lifetime.ApplicationStopping, request.HttpContext.RequestAborted))
            : Problems.NoJob(id);
    }).WithSummary("Follow a job, as server-sent events");

    private static async IAsyncEnumerable<SseItem<JsonNode>> FollowAsync(
        Job job, long after, JobStore store, CancellationToken stopping, [EnumeratorCancellation] CancellationToken cancellation)
    {
        const int Page = 100;
        using var stoppedOrLeft = CancellationTokenSource.CreateLinkedTokenSource(stopping, cancellation);
        while (!stopping.IsCancellationRequested)
        {
            Task changed = store.Changed; // Taken before looking, like whether the job is over, so that nothing is missed.
            bool over = (await store.FindAsync(job.Id, cancellation).ConfigureAwait(false))!.IsOver;
            IReadOnlyList<JobEvent> events = await store.EventsAsync(job, after, Page, cancellation).ConfigureAwait(false);
            foreach (JobEvent item in events)
            {
                after = item.Number;
                JsonObject data = JsonNode.Parse(item.Data)!.AsObject();
                data["time"] = item.Time;
                yield return new SseItem<JsonNode>(data, item.Kind) { EventId = item.Number.ToString(CultureInfo.InvariantCulture) };
            }

            if (events.Count == 0 && over)
            {
                yield break;
            }

            if (events.Count == 0)
            {
                await store.WaitAsync(changed, stoppedOrLeft.Token).ConfigureAwait(false);
            }
        }
    }
}
