using System.Globalization;
using System.Text;
using Nibble.Bench.Machine;
using Nibble.Tests;

namespace Nibble.Bench.Serving;

/// <summary>The section of <c>bench/reports/service.md</c> on the service under load.</summary>
internal static class ServiceReport
{
    private const int Jobs = 10_000;
    private const int Seconds = 6;
    private const int Listening = 1000;
    private const int Endless = 1_000_000;
    private const int FollowedSteps = 100;
    private const int WarmUp = 3;
    private const int Rounds = 9;
    private const int RoundSeconds = 10;

    /// <summary>Measures everything.</summary>
    /// <param name="folder">Where reports lie.</param>
    /// <returns>The path of the report.</returns>
    public static async Task<string> WriteAsync(string folder)
    {
        using var store = new ServedStore(Jobs);
        await store.Client.GetStringAsync("/v1/jobs?limit=100").ConfigureAwait(false);
        var resident = new List<(string When, long Bytes)> { ("at the start", store.ResidentBytes) };
        (string Name, string Path)[] requests =
        [
            ("list 20", "/v1/jobs?limit=20"),
            ("list 20 that failed", "/v1/jobs?limit=20&status=failed"),
            ("list 100 that completed", "/v1/jobs?limit=100&status=completed"),
            ("get", $"/v1/jobs/{store.LastJob}"),
        ];
        string trains = await store.TrainAsync("endless", Endless).ConfigureAwait(false);
        await store.Client.PostAsync($"/v1/jobs/{trains}/pause", null).ConfigureAwait(false);
        foreach ((string _, string path) in requests)
        {
            Wrk.Measure(new Uri(store.Client.BaseAddress!, path), WarmUp); // What is compiled while it is measured says little of what a server does all day.
        }

        WrkResult?[] alone = [.. requests.Select(request => Wrk.Measure(new Uri(store.Client.BaseAddress!, request.Path), Seconds))];
        resident.Add(("after reading alone", store.ResidentBytes));
        await store.Client.PostAsync($"/v1/jobs/{trains}/resume", null).ConfigureAwait(false);
        await Task.Delay(TimeSpan.FromSeconds(3)).ConfigureAwait(false);
        WrkResult?[] beside = [.. requests.Select(request => Wrk.Measure(new Uri(store.Client.BaseAddress!, request.Path), Seconds))];
        resident.Add(("after reading beside training", store.ResidentBytes));
        (WrkResult? Requests, long Bytes)[] sustained =
            [.. Enumerable.Range(0, Rounds).Select(_ => (Wrk.Measure(store.Client.BaseAddress!, RoundSeconds, InTurn(requests.Select(request => request.Path))), store.ResidentBytes))];
        await store.Client.DeleteAsync($"/v1/jobs/{trains}").ConfigureAwait(false);
        TimeSpan before = store.ProcessorTime;
        string followed = await store.CreateAsync("followed", FollowedSteps).ConfigureAwait(false);
        Task<ListenersResult> following = Listeners.FollowAsync(store, followed, Listening);
        await Task.Delay(TimeSpan.FromSeconds(3)).ConfigureAwait(false);
        resident.Add(("with the listeners", store.ResidentBytes));
        ListenersResult listeners = await following.ConfigureAwait(false);
        TimeSpan computed = store.ProcessorTime - before;
        await store.TrainAsync("endless-too", Endless).ConfigureAwait(false);
        WrkResult? creation = Wrk.Measure(new Uri(store.Client.BaseAddress!, "/v1/jobs"), Seconds, Creation());
        resident.Add(("at the end", store.ResidentBytes));
        string report = Path.Combine(folder, "service.md");
        ReportSection.Put(report, "The training service", "Under load", string.Create(CultureInfo.InvariantCulture, $"""
            {MachineInfo.Describe()} Made by `./build.sh --target=BenchService`: one server on SQLite with {Jobs:N0} jobs in its store, asked by wrk over {Wrk.Connections} connections for {Seconds} s
            each, on the same cores, when it has warmed up. Beside training: while its worker trains on both cores.

            {Table([.. requests.Select(request => request.Name), "create"], [.. alone, null], [.. beside, creation])}
            These requests in turn, beside training, for {Rounds * RoundSeconds} s more:

            {Table(sustained)}
            {listeners.Count:N0} listeners of one job that trains: {listeners.Events} events each, {listeners.Missed} listeners that missed any or got one twice; half of the events came within {listeners.MedianDelay:0} ms of
            their time, 99% within {listeners.P99Delay:0} ms. The server computed for {computed.TotalSeconds:0.0} s.

            Resident memory of the server: {string.Join(", ", resident.Select(item => $"{item.Bytes >> 20} MiB {item.When}"))}.
            """));
        return report;
    }

    private static string Table(IEnumerable<string> names, WrkResult?[] alone, WrkResult?[] beside)
    {
        if (beside.Contains(null))
        {
            return "wrk is not installed (Debian: apt-get install wrk), so that requests were not measured.\n";
        }

        var table = new StringBuilder();
        table.AppendLine("| request | alone, a second | p50 | p99 | beside training, a second | p50 | p99 | refused |");
        table.AppendLine("|---|---|---|---|---|---|---|---|");
        foreach ((string name, WrkResult? first, WrkResult? second) in names.Zip(alone, beside))
        {
            table.AppendLine(CultureInfo.InvariantCulture, $"| {name} | {Cells(first)} | {Cells(second)} | {(first?.Refused ?? 0) + second!.Refused} |");
        }

        return table.ToString();
    }

    private static string Table(IReadOnlyList<(WrkResult? Requests, long Bytes)> sustained)
    {
        var table = new StringBuilder();
        table.AppendLine("| until | requests a second | p50 | p99 | resident memory of the server |");
        table.AppendLine("|---|---|---|---|---|");
        foreach ((int i, (WrkResult? requests, long bytes)) in sustained.Index())
        {
            table.AppendLine(CultureInfo.InvariantCulture, $"| {(i + 1) * RoundSeconds} s | {Cells(requests)} | {bytes >> 20} MiB |");
        }

        return table.ToString();
    }

    private static string Cells(WrkResult? result) =>
        result is null ? "- | - | -" : string.Create(CultureInfo.InvariantCulture, $"{result.PerSecond:N0} | {result.Median:0.0} ms | {result.P99:0.0} ms");

    /// <summary>Asks for one path after the other.</summary>
    private static string InTurn(IEnumerable<string> paths) => $$"""
        local paths = { {{string.Join(", ", paths.Select(path => $"\"{path}\""))}} }
        local count = 0
        request = function()
          count = count + 1
          return wrk.format("GET", paths[count % #paths + 1])
        end
        """;

    /// <summary>Asks for a job with a folder of its own each time.</summary>
    private static string Creation()
    {
        string body = ServedStore.Request("OUTPUT", FollowedSteps).ToJsonString();
        return $$"""
            local body = [==[{{body}}]==]
            local count = 0
            request = function()
              count = count + 1
              return wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, (body:gsub("OUTPUT", "created-" .. count)))
            end
            """;
    }
}
