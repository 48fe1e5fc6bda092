using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests.Proof;

/// <summary>What became of the jobs: of each what the store and its folder hold, against an undisturbed run of the same variant.</summary>
/// <param name="service">One that serves.</param>
/// <param name="undisturbed">The losses of each variant.</param>
internal sealed class Verdict(Service service, IReadOnlyList<IReadOnlyList<double>> undisturbed)
{
    /// <summary>What other attempts than the last may have ended by: each is a blow.</summary>
    private static readonly string[] Blows = ["the worker was killed by signal 9", "the service ended while the job ran", "the server "];

    private readonly List<Fate> ended = [];

    /// <summary>Jobs that are not there, or not in the state that they should have come to.</summary>
    public List<string> Lost { get; } = [];

    /// <summary>Jobs, attempts and steps that are there twice, or that overlap.</summary>
    public List<string> Doubled { get; } = [];

    /// <summary>Losses that are not those of the undisturbed run, to the bit.</summary>
    public List<string> Differing { get; } = [];

    /// <summary>Attempts beyond the first of each job.</summary>
    public int Retries { get; private set; }

    /// <summary>Jobs that came to the end that was theirs.</summary>
    public int Ended(Fate fate) => ended.Count(item => item == fate);

    public async Task JudgeAsync(IReadOnlyList<(ProofJob Job, string Id)> jobs)
    {
        ILookup<string, JsonObject> listed = (await AllAsync()).ToLookup(item => item["output_dir"]!.GetValue<string>());
        foreach ((ProofJob job, string id) in jobs)
        {
            Doubled.AddRange(listed[job.Output].Skip(1).Select(item => $"{job.Output} is {item["job_id"]} as well"));
            JsonObject? found = listed[job.Output].FirstOrDefault();
            string status = found?["status"]!.GetValue<string>() ?? "absent";
            if (found?["job_id"]!.GetValue<string>() != id || !status.Equals($"{job.Fate}", StringComparison.OrdinalIgnoreCase))
            {
                Lost.Add($"{job.Output} is {status}, not {job.Fate}: {found?["error"]}");
                continue;
            }

            ended.Add(job.Fate);
            int attempts = found["attempts"]!.GetValue<int>();
            Retries += Math.Max(0, attempts - 1);
            JudgeEvents(job, attempts, await service.EventsAsync(id));
            if (job.Fate == Fate.Completed)
            {
                JudgeRun(job, await service.GetAsync($"/v1/jobs/{id}/metrics"));
            }
        }
    }

    private void JudgeRun(ProofJob job, JsonObject figures)
    {
        (int Step, double Loss)[] steps = [.. figures["steps"]!.AsArray().Select(item => (item!["step"]!.GetValue<int>(), item["loss"]!.GetValue<double>()))];
        Doubled.AddRange(steps.GroupBy(item => item.Step).Where(group => group.Count() > 1).Select(group => $"{job.Output} has step {group.Key} {group.Count()} times"));
        if (!steps.Select(item => item.Loss).SequenceEqual(undisturbed[job.Variant]))
        {
            Differing.Add($"{job.Output}: {string.Join(' ', steps)}, undisturbed {string.Join(' ', undisturbed[job.Variant])}");
        }
    }

    /// <summary>Attempts begin one after the other, each once, and end once; within each no step is told twice, and each loss is the undisturbed one.</summary>
    private void JudgeEvents(ProofJob job, int attempts, IReadOnlyList<(string Kind, JsonNode Data)> events)
    {
        string[] statuses = [.. events.Where(item => item.Kind == "status").Select(item => item.Data["status"]!.GetValue<string>())];
        string[] expected = [.. Enumerable.Range(0, attempts).SelectMany(_ => (string[])["pending", "running"]), .. attempts == 0 ? ["pending"] : Array.Empty<string>(), statuses[^1]];
        bool cancelledAtRest = job.Fate == Fate.Cancelled && statuses is [.., "pending", "cancelled"];
        if (!statuses.SequenceEqual(expected) && !(cancelledAtRest && statuses.SequenceEqual([.. expected[..^1], "pending", "cancelled"])))
        {
            Doubled.Add($"{job.Output} went {string.Join(' ', statuses)} in {attempts} attempts");
        }

        int last = 0;
        bool first = true;
        foreach ((string kind, JsonNode data) in events)
        {
            if (kind == "status")
            {
                last = 0;
                string reason = data["reason"]!.GetValue<string>();
                if (!first && data["status"]!.GetValue<string>() == "pending" && !Blows.Any(blow => reason.StartsWith(blow, StringComparison.Ordinal)))
                {
                    Lost.Add($"{job.Output} lost an attempt though nothing struck it: {reason}");
                }

                first = false;
            }
            else if (kind == "metrics" && job.Fate == Fate.Completed)
            {
                int step = data["step"]!.GetValue<int>();
                if (step <= last)
                {
                    Doubled.Add($"{job.Output} told of step {step} after step {last}");
                }

                if (data["loss"]!.GetValue<double>() != undisturbed[job.Variant][step - 1])
                {
                    Differing.Add($"{job.Output} told of {data["loss"]} at step {step}, undisturbed {undisturbed[job.Variant][step - 1]}");
                }

                last = step;
            }
        }
    }

    private async Task<List<JsonObject>> AllAsync()
    {
        var all = new List<JsonObject>();
        string after = "";
        while (true)
        {
            JsonObject page = await service.GetAsync($"/v1/jobs?limit=100{after}");
            all.AddRange(page["data"]!.AsArray().Select(item => item!.AsObject()));
            if (!page["has_more"]!.GetValue<bool>())
            {
                return all;
            }

            after = $"&after={all[^1]["job_id"]}";
        }
    }
}
