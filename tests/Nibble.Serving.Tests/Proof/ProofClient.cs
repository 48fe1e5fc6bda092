using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests.Proof;

/// <summary>Asks for jobs and follows them, as a client does that knows that servers may be gone: it asks again, whichever is there.</summary>
internal sealed class ProofClient(IReadOnlyList<Uri> servers, Random random) : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(2);

    private readonly HttpClient http = new() { Timeout = TimeSpan.FromSeconds(20) };
    private readonly List<(ProofJob Job, string Id)> mine = [];
    private int over;

    /// <summary>Jobs that are over, as far as it knows.</summary>
    public int Over => Volatile.Read(ref over);

    /// <summary>The names that its jobs were given.</summary>
    public IReadOnlyList<(ProofJob Job, string Id)> Jobs => mine;

    /// <summary>Asks for jobs, cancels those that are to be, and waits until all are over.</summary>
    public async Task RunAsync(IEnumerable<ProofJob> jobs)
    {
        foreach (ProofJob job in jobs)
        {
            (HttpStatusCode status, JsonObject body) = await SendAsync(() => new HttpRequestMessage(HttpMethod.Post, "/v1/jobs")
            {
                Content = JsonContent.Create(job.Request()),
                Headers = { { "Idempotency-Key", job.Output } },
            });
            Assert.True(status is HttpStatusCode.Created or HttpStatusCode.OK, body.ToJsonString());
            mine.Add((job, body["job_id"]!.GetValue<string>()));
        }

        var left = new List<(ProofJob Job, string Id)>(mine);
        while (left.Count > 0)
        {
            foreach ((ProofJob job, string id) in left.ToList())
            {
                JsonObject body = await ReadAsync($"/v1/jobs/{id}");
                if (body["ended_at"] is not null)
                {
                    left.Remove((job, id));
                    Interlocked.Increment(ref over);
                }
                else if (job.Fate == Fate.Cancelled && (job.Variant % 2 == 0 || body["step"]!.GetValue<int>() > 0))
                {
                    await SendAsync(() => new HttpRequestMessage(HttpMethod.Delete, $"/v1/jobs/{id}")); // Refused where the answer before was lost.
                }

                await Task.Delay(20);
            }
        }
    }

    public async Task<JsonObject> ReadAsync(string path)
    {
        (HttpStatusCode status, JsonObject body) = await SendAsync(() => new HttpRequestMessage(HttpMethod.Get, path));
        return status == HttpStatusCode.OK ? body : throw new InvalidOperationException($"{path}: {body.ToJsonString()}");
    }

    public void Dispose() => http.Dispose();

    private async Task<(HttpStatusCode Status, JsonObject Body)> SendAsync(Func<HttpRequestMessage> make)
    {
        using var patience = new CancellationTokenSource(Patience);
        while (true)
        {
            using HttpRequestMessage request = make();
            request.RequestUri = new Uri(servers[random.Next(servers.Count)], request.RequestUri!);
            try
            {
                using HttpResponseMessage response = await http.SendAsync(request, patience.Token);
                if (response.StatusCode != HttpStatusCode.ServiceUnavailable)
                {
                    return (response.StatusCode, await Service.BodyAsync(response));
                }
            }
            catch (Exception exception) when (exception is HttpRequestException || (exception is TaskCanceledException && !patience.IsCancellationRequested))
            {
                // It was killed, or is too slow.
            }

            await Task.Delay(100, patience.Token);
        }
    }
}
