namespace Nibble.Serving.Tests.Proof;

/// <summary>Kills servers and workers at random moments, which spread over the time that the jobs take, and restarts the database once.</summary>
/// <param name="servers">The servers, and with which options each is started again.</param>
/// <param name="database">The database that is restarted; null for none.</param>
/// <param name="progress">Share of the jobs that are over.</param>
/// <param name="random">Decides.</param>
internal sealed class Chaos(IReadOnlyList<(Service Server, string[] Options)> servers, PostgresServer? database, Func<double> progress, Random random)
{
    private enum Blow
    {
        Server,
        Worker,
        Database,
    }

    /// <summary>Strikes as often as a size says.</summary>
    /// <param name="size">How often.</param>
    /// <param name="done">The jobs are over, and there is nothing left to kill.</param>
    /// <returns>How often it has struck.</returns>
    public async Task<(int Servers, int Workers, int Databases)> StrikeAsync(ProofSize size, CancellationToken done)
    {
        Blow[] blows = [.. Enumerable.Repeat(Blow.Server, size.ServerKills), .. Enumerable.Repeat(Blow.Worker, size.WorkerKills)];
        random.Shuffle(blows);
        double[] moments = [.. blows.Select(_ => 0.9 * random.NextDouble()).Order()];
        List<(Blow Blow, double Moment)> plan = [.. blows.Zip(moments)];
        if (database is not null)
        {
            plan.Insert(plan.Count / 2, (Blow.Database, 0));
        }

        int[] counts = new int[3];
        foreach ((Blow blow, double moment) in plan)
        {
            while (progress() < moment && !done.IsCancellationRequested)
            {
                await Task.Delay(20, CancellationToken.None);
            }

            await Task.Delay(random.Next(700), CancellationToken.None);
            Task<bool> strike = blow switch
            {
                Blow.Server => KillServerAsync(),
                Blow.Worker => KillWorkerAsync(done),
                _ => RestartDatabaseAsync(),
            };
            counts[(int)blow] += await strike ? 1 : 0;
        }

        return (counts[0], counts[1], counts[2]);
    }

    private async Task<bool> KillServerAsync()
    {
        (Service server, string[] options) = servers[random.Next(servers.Count)];
        await server.KillAsync();
        await Task.Delay(random.Next(1000));
        await server.StartAgainAsync(options);
        return true;
    }

    private async Task<bool> KillWorkerAsync(CancellationToken done)
    {
        while (!done.IsCancellationRequested)
        {
            int[] workers = [.. servers.SelectMany(item => item.Server.Workers)];
            if (workers.Length > 0 && Service.Send("-KILL", workers[random.Next(workers.Length)]))
            {
                return true;
            }

            await Task.Delay(20, CancellationToken.None);
        }

        return false;
    }

    private async Task<bool> RestartDatabaseAsync()
    {
        await database!.StopAsync();
        await Task.Delay(1000 + random.Next(2000));
        await database.StartAsync();
        return true;
    }
}
