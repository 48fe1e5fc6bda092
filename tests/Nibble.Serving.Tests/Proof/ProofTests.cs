using System.Diagnostics;

namespace Nibble.Serving.Tests.Proof;

/// <summary>
/// Many jobs of several clients, while servers and workers are killed at random: none is lost, none runs twice, all come to their right end, and
/// to the bit to the losses of undisturbed runs. Skipped unless NIBBLE_PROOF names the report to write.
/// </summary>
[Collection("service")]
public class ProofTests
{
    internal const int Clients = 4;
    private const int Seed = 20261129;

    [Theory]
    [MemberData(nameof(ProofSize.Parts), MemberType = typeof(ProofSize))]
    public Task Jobs_survive_kills_on_SQLite(int part) => ProveAsync("SQLite", part, database: null, servers: 1, concurrency: 4);

    [Theory]
    [MemberData(nameof(ProofSize.Parts), MemberType = typeof(ProofSize))]
    public async Task Jobs_survive_kills_of_two_servers_and_a_restart_of_PostgreSQL(int part)
    {
        await using var database = new PostgresServer();
        await ProveAsync("PostgreSQL", part, database, servers: 2, concurrency: 2);
    }

    private static async Task ProveAsync(string name, int part, PostgresServer? database, int servers, int concurrency)
    {
        Assert.SkipWhen(ProofSize.Report is null, "This takes minutes: ./build.sh --target=Proof.");
        ProofSize size = ProofSize.Asked;
        var random = new Random(Seed + part);
        IReadOnlyList<ProofJob> jobs = ProofJob.Plan(size, random);
        string[] options = ["--concurrency", $"{concurrency}", "--lease", "6", .. database is null ? Array.Empty<string>() : ["--database", await database.NewDatabaseAsync()]];
        var fleet = new List<Service>();
        try
        {
            fleet.Add(await Service.StartAsync(options));
            ProofJob.WriteData(fleet[0]);
            IReadOnlyList<IReadOnlyList<double>> undisturbed = await UndisturbedAsync(fleet[0], size);
            while (fleet.Count < servers)
            {
                fleet.Add(await fleet[0].JoinAsync(options));
            }

            Uri[] addresses = [.. fleet.Select(server => server.Client.BaseAddress!)];
            ProofClient[] clients = [.. Enumerable.Range(0, Clients).Select(i => new ProofClient(addresses, new Random(random.Next())))];
            var clock = Stopwatch.StartNew();
            using var done = new CancellationTokenSource();
            var chaos = new Chaos(
                [.. fleet.Zip(addresses, (server, address) => (server, (string[])[.. options, "--urls", address.GetLeftPart(UriPartial.Authority)]))],
                database, () => (double)clients.Sum(client => client.Over) / size.Jobs, random);
            Task<(int Servers, int Workers, int Databases)> striking = chaos.StrikeAsync(size, done.Token);
            try
            {
                await Task.WhenAll(clients.Select((client, i) => client.RunAsync(jobs.Where((_, number) => number % Clients == i))));
            }
            finally
            {
                await done.CancelAsync();
            }

            (int Servers, int Workers, int Databases) blows = await striking;
            TimeSpan wall = clock.Elapsed;
            var verdict = new Verdict(fleet[0], undisturbed);
            await verdict.JudgeAsync([.. clients.SelectMany(client => client.Jobs)]);
            Array.ForEach(clients, client => client.Dispose());
            ProofReport.Write($"{name}, part {part}", fleet.Count, size, blows, verdict, wall);
            Assert.Equal((size.ServerKills, size.WorkerKills, database is null ? 0 : 1), blows);
            Assert.Empty(verdict.Lost.Concat(verdict.Doubled).Concat(verdict.Differing));
            Assert.True(verdict.Retries > 0);
        }
        finally
        {
            foreach (Service server in Enumerable.Reverse(fleet))
            {
                await server.DisposeAsync();
            }
        }
    }

    /// <summary>The losses of each variant.</summary>
    private static async Task<IReadOnlyList<IReadOnlyList<double>>> UndisturbedAsync(Service service, ProofSize size)
    {
        var losses = new List<IReadOnlyList<double>>();
        for (int variant = 0; variant < size.Variants; variant++)
        {
            var job = new ProofJob($"undisturbed-{variant}", variant, Fate.Completed);
            await service.UntilAsync(await service.CreateAsync(job.Request()), "completed");
            losses.Add(service.Losses(job.Output));
            Assert.Equal(job.Steps, losses[^1].Count);
        }

        Assert.Equal(size.Variants, losses.DistinctBy(series => series[^1]).Count()); // Or the comparison would say little.
        return losses;
    }
}
