using System.Net.ServerSentEvents;
using System.Text.Json.Nodes;

namespace Nibble.Bench.Serving;

/// <summary>What listeners of one job's events got.</summary>
/// <param name="Count">Listeners.</param>
/// <param name="Events">Of the job.</param>
/// <param name="Missed">Listeners that did not get every event once and in order.</param>
/// <param name="MedianDelay">Milliseconds from an event's time to who listens, for half of them at most.</param>
/// <param name="P99Delay">The same for all but a hundredth.</param>
internal sealed record ListenersResult(int Count, int Events, int Missed, double MedianDelay, double P99Delay);

/// <summary>Many clients that follow one job to its end.</summary>
internal static class Listeners
{
    /// <summary>Listens until the job is over.</summary>
    /// <param name="store">Which serves.</param>
    /// <param name="id">The job.</param>
    /// <param name="count">Listeners.</param>
    public static async Task<ListenersResult> FollowAsync(ServedStore store, string id, int count)
    {
        List<(string Id, double Delay)>[] got = await Task.WhenAll(Enumerable.Range(0, count).Select(_ => ListenAsync(store, id))).ConfigureAwait(false);
        string[] all = [.. (await ListenAsync(store, id).ConfigureAwait(false)).Select(item => item.Id)]; // The job is over.
        double[] delays = [.. got.SelectMany(events => events).Select(item => item.Delay).Where(delay => !double.IsNaN(delay)).Order()];
        return new ListenersResult(count, all.Length, got.Count(events => !events.Select(item => item.Id).SequenceEqual(all)), At(delays, 0.5), At(delays, 0.99));
    }

    private static async Task<List<(string Id, double Delay)>> ListenAsync(ServedStore store, string id)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/v1/jobs/{id}/events");
        using HttpResponseMessage response = await store.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead).ConfigureAwait(false);
        response.EnsureSuccessStatusCode();
        DateTimeOffset begin = DateTimeOffset.UtcNow;
        var events = new List<(string, double)>();
        await foreach (SseItem<string> item in SseParser.Create(await response.Content.ReadAsStreamAsync().ConfigureAwait(false)).EnumerateAsync().ConfigureAwait(false))
        {
            DateTimeOffset told = JsonNode.Parse(item.Data)!["time"]!.GetValue<DateTimeOffset>();
            events.Add((item.EventId!, told < begin ? double.NaN : (DateTimeOffset.UtcNow - told).TotalMilliseconds)); // Those from before it listened say nothing.
        }

        return events;
    }

    private static double At(double[] ordered, double share) => ordered.Length == 0 ? double.NaN : ordered[(int)(share * (ordered.Length - 1))];
}
