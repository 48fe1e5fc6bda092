using System.Globalization;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Hosting;
using Nibble.Serving.Jobs;
using Nibble.Serving.Keys;
using Nibble.Serving.Store;

namespace Nibble.Serving.Api;

/// <summary>What happens to a job, as server-sent events, until it is over. Who names the last event it has got receives those after it.</summary>
internal static class EventStream
{
    private const string LastHeader = "Last-Event-ID";

    public static void MapEvents(this IEndpointRouteBuilder jobs) => jobs.MapGet("{id}/events", async (string id, HttpRequest request, JobStore store, EventFeed feed, IHostApplicationLifetime lifetime) =>
    {
        string last = request.Headers[LastHeader].ToString();
        if (!long.TryParse(last.Length == 0 ? "0" : last, NumberStyles.None, CultureInfo.InvariantCulture, out long after))
        {
            throw new FieldException(LastHeader, $"is '{last}'; it must be the id of an event");
        }

        return await store.FindAsync(id, request.HttpContext.RequestAborted).ConfigureAwait(false) is { } job
            ? Results.ServerSentEvents(FollowAsync(job, after, store, feed, request.HttpContext.Key(), lifetime.ApplicationStopping, request.HttpContext.RequestAborted))
            : Problems.NoJob(id);
    }).Heeds(LastHeader, "The id of the last event that is known.").Produces<string>(contentType: "text/event-stream").WithSummary("Follow a job, as server-sent events");

    private static async IAsyncEnumerable<SseItem<string>> FollowAsync(
        Job job, long after, JobStore store, EventFeed feed, ApiKey? key, CancellationToken stopping, [EnumeratorCancellation] CancellationToken cancellation)
    {
        using var stoppedOrLeft = CancellationTokenSource.CreateLinkedTokenSource(stopping, cancellation);
        while (!stopping.IsCancellationRequested && (key is null || await feed.IsGoodAsync(key).ConfigureAwait(false)))
        {
            Task changed = store.Changed; // Taken before looking, so that nothing is missed.
            EventPage page = await feed.ReadAsync(job, after).ConfigureAwait(false);
            foreach (SseItem<string> item in page.Items)
            {
                yield return item;
            }

            if (page.IsEnd)
            {
                yield break;
            }

            after = page.Last;
            if (page.Items.Count == 0)
            {
                await JobStore.WaitAsync(changed, stoppedOrLeft.Token).ConfigureAwait(false);
            }
        }
    }
}
