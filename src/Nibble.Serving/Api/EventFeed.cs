using System.Globalization;
using System.Net.ServerSentEvents;
using System.Text.Json.Nodes;
using Nibble.Serving.Keys;
using Nibble.Serving.Store;

namespace Nibble.Serving.Api;

/// <summary>
/// What follows after an event of a job, for all who ask: between two changes of the store it is read once and kept, so that a thousand
/// listeners of a job cost its store as much as one.
/// </summary>
internal sealed class EventFeed(JobStore store)
{
    private const int MostEvents = 100;

    /// <summary>Listeners that read what is long past have pages of their own; more than so many are not kept.</summary>
    private const int MostPages = 64;

    private readonly Dictionary<(long Job, long After), Task<EventPage>> pages = [];
    private readonly Dictionary<string, Task<bool>> keys = [];
    private readonly Lock reading = new();
    private Task generation = Task.CompletedTask;

    /// <summary>The events after one of them.</summary>
    public Task<EventPage> ReadAsync(Job job, long after) => OnceAsync(pages, (job.Number, after), () => LoadAsync(job, after));

    /// <summary>Whether a key that was good has not been revoked since.</summary>
    public Task<bool> IsGoodAsync(ApiKey key) => OnceAsync(keys, key.Id, () => store.IsGoodAsync(key));

    private Task<T> OnceAsync<TName, T>(Dictionary<TName, Task<T>> known, TName name, Func<Task<T>> ask)
        where TName : notnull
    {
        lock (reading)
        {
            Task changed = store.Changed;
            if (generation != changed)
            {
                generation = changed;
                pages.Clear();
                keys.Clear();
            }

            if (!known.TryGetValue(name, out Task<T>? answer) || answer.IsFaulted)
            {
                if (known.Count >= MostPages)
                {
                    known.Clear();
                }

                known[name] = answer = ask();
            }

            return answer;
        }
    }

    private async Task<EventPage> LoadAsync(Job job, long after)
    {
        bool over = (await store.FindAsync(job.Id).ConfigureAwait(false))!.IsOver; // Before the events, so that the last one is not missed.
        IReadOnlyList<JobEvent> events = await store.EventsAsync(job, after, MostEvents, CancellationToken.None).ConfigureAwait(false);
        return new EventPage([.. events.Select(ItemOf)], events.Count == 0 ? after : events[^1].Number, events.Count == 0 && over);
    }

    private static SseItem<string> ItemOf(JobEvent item)
    {
        JsonObject data = JsonNode.Parse(item.Data)!.AsObject();
        data["time"] = item.Time;
        return new SseItem<string>(data.ToJsonString(), item.Kind) { EventId = item.Number.ToString(CultureInfo.InvariantCulture) };
    }
}

/// <summary>Some events of a job, in order.</summary>
/// <param name="Items">The events; none where there is nothing new.</param>
/// <param name="Last">The number of the last one.</param>
/// <param name="IsEnd">None will follow.</param>
internal sealed record EventPage(IReadOnlyList<SseItem<string>> Items, long Last, bool IsEnd);
