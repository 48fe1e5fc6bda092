using System.Data.Common;
using System.Text.Json.Nodes;
using Microsoft.EntityFrameworkCore;
using Microsoft.EntityFrameworkCore.Storage;
using Nibble.Serving.Store;
using Nibble.Tests;

namespace Nibble.Serving.Tests;

/// <summary>What keeps the jobs: its form, and that it loses nothing and gives each job to one at a time.</summary>
public class StoreTests(PostgresServer server)
{
    private const int Many = 1000;

    private static readonly TimeSpan Lease = TimeSpan.FromSeconds(60);

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task Migrations_come_to_the_tables_that_the_model_has(string kind)
    {
        string columns = kind == "SQLite"
            ? "SELECT m.name, c.name, c.type, c.\"notnull\" FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.name IN ('Jobs', 'Events', 'Files', 'Keys') ORDER BY m.name, c.name"
            : "SELECT table_name, column_name, data_type, is_nullable, is_identity FROM information_schema.columns WHERE table_name IN ('Jobs', 'Events', 'Files', 'Keys') ORDER BY table_name, column_name";
        string indexes = kind == "SQLite"
            ? "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY sql"
            : "SELECT indexdef FROM pg_indexes WHERE tablename IN ('Jobs', 'Events', 'Files', 'Keys') ORDER BY indexdef";
        using TestStore migrated = await TestStore.NewAsync(kind, server);
        using TestStore made = await TestStore.NewAsync(kind, server);
        migrated.Open();
        made.CreateFromModel();
        Assert.Equal(made.Ask(columns), migrated.Ask(columns));
        Assert.Equal(made.Ask(indexes), migrated.Ask(indexes));
        Assert.NotEmpty(migrated.Ask(indexes));
    }

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task A_store_of_a_newer_version_is_refused_and_stays_as_it_is(string kind)
    {
        using TestStore test = await TestStore.NewAsync(kind, server);
        test.Open();
        test.Close();
        test.Open();
        test.Close();
        test.Ask("INSERT INTO \"__EFMigrationsHistory\" VALUES ('29990101000000_Later', '99')");
        IReadOnlyList<string> before = test.Ask("SELECT * FROM \"__EFMigrationsHistory\"");
        string problem = Assert.Throws<InvalidDataException>(test.Open).Message;
        Assert.Contains("29990101000000_Later", problem, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', problem);
        Assert.Equal(before, test.Ask("SELECT * FROM \"__EFMigrationsHistory\""));
    }

    [Fact]
    public async Task A_server_that_stands_still_in_the_middle_of_a_transaction_keeps_nobody_from_its_jobs()
    {
        using TestStore test = await TestStore.NewAsync("PostgreSQL", server);
        await test.Open().AddAsync(TestStore.Job("held"), 10);
        using var database = StoreDatabase.At(test.Address);
        using JobDatabase tables = database.Open();
        await using IDbContextTransaction transaction = await tables.Database.BeginTransactionAsync();
        await tables.Jobs.ExecuteUpdateAsync(set => set.SetProperty(job => job.Step, 1));
        Assert.Equal(["2"], test.Ask("UPDATE \"Jobs\" SET \"Step\" = 2 RETURNING \"Step\"")); // Waits for the lock, but not for ever.
        await Assert.ThrowsAnyAsync<DbException>(() => transaction.CommitAsync());
    }

    [Fact]
    public async Task The_first_versions_file_is_brought_up_to_date_with_its_jobs()
    {
        using TestStore test = await TestStore.NewAsync("SQLite", server);
        test.Ask(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "first-version.sql")));
        JobStore store = test.Open();
        IReadOnlyList<Job> jobs = await store.ListAsync(10, after: null, status: null, default);
        Assert.Equal([("job-3", JobStatus.Pending), ("job-2", JobStatus.Running), ("job-1", JobStatus.Completed)], jobs.Select(job => (job.Id, job.Status)));
        Assert.Equal(["status", "metrics"], (await store.EventsAsync(jobs[2], 0, 10, default)).Select(item => item.Kind));
        await store.TakeBackAsync(all: true);
        Assert.Equal(JobStatus.Cancelled, (await store.FindAsync("job-2"))!.Status); // Its request to be cancelled was not done yet.
        Assert.Equal("job-3", (await ClaimAsync(store))!.Id);
        Assert.Equal(["2"], test.Ask("PRAGMA user_version")); // The first version refuses others than 1.
        Assert.Equal(["wal"], test.Ask("PRAGMA journal_mode"));
    }

    [Fact]
    public async Task Servers_that_start_at_once_bring_one_database_up_to_date()
    {
        using TestStore test = await TestStore.NewAsync("PostgreSQL", server);
        JobStore[] stores = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => Task.Run(() => new JobStore(StoreDatabase.At(test.Address)))));
        Assert.Equal(["20261101000000_First", "20261124000000_Leases", "20261124100000_Asked", "20261124120000_ApiKeys", "20261129080000_Clusters"], test.Ask("SELECT \"MigrationId\" FROM \"__EFMigrationsHistory\" ORDER BY 1"));
        Array.ForEach(stores, store => store.Dispose());
    }

    [Fact]
    public async Task A_file_is_one_servers()
    {
        using TestStore test = await TestStore.NewAsync("SQLite", server);
        test.Open();
        Assert.Contains("another service", Assert.Throws<InvalidDataException>(test.Open).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_no_store_is_refused_in_one_line()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["jobs.db"], new string('x', 5000));
        string port = "Host=127.0.0.1;Port=1;Password=secret";
        foreach ((string address, string word) in new[] { (folder["jobs.db"], "jobs.db"), (port, "127.0.0.1:1"), ("Host=x;Colour=red", "colour") })
        {
            string problem = Assert.Throws<InvalidDataException>(() => new JobStore(StoreDatabase.At(address))).Message;
            Assert.Contains(word, problem, StringComparison.OrdinalIgnoreCase);
            Assert.DoesNotContain("secret", problem, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', problem);
        }
    }

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task However_many_ask_each_job_is_given_once_the_oldest_first(string kind)
    {
        using TestStore test = await TestStore.NewAsync(kind, server);
        JobStore[] stores = kind == "SQLite" ? [test.Open()] : [test.Open(), test.Open(), test.Open()];
        for (int i = 0; i < 30; i++)
        {
            await stores[0].AddAsync(TestStore.Job($"{i:00}"), Many);
        }

        List<Job>[] taken = await Task.WhenAll(Enumerable.Range(0, 6).Select(async number =>
        {
            var mine = new List<Job>();
            while (mine.Count < 5 && await stores[number % stores.Length].ClaimAsync("cpu", 0, $"server {number}", Lease) is var job)
            {
                mine.AddRange(job is null ? [] : [job]);
            }

            return mine;
        }));
        Assert.Equal(Enumerable.Range(1, 30).Select(number => (long)number), taken.SelectMany(jobs => jobs).Select(job => job.Number).Order());
        Assert.All(taken, jobs => Assert.Equal(jobs.Select(job => job.Number).Order(), jobs.Select(job => job.Number)));
        Assert.Null(await ClaimAsync(stores[0]));
    }

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task A_job_on_a_cluster_waits_there_and_is_taken_over_with_its_worker_when_its_server_is_gone(string kind)
    {
        using TestStore test = await TestStore.NewAsync(kind, server);
        JobStore store = test.Open();
        await store.AddAsync(TestStore.Job("a"), Many);
        Job job = (await store.ClaimAsync("cpu", 0, "first", Lease, "slurm"))!;
        JobLease old = LeaseOf(job);
        Assert.Equal((JobStatus.Pending, "slurm:nibble-job-a-1"), (job.Status, job.ClusterJob));
        Assert.Null(await store.ClaimAsync("cpu", 0, "second", Lease, "slurm")); // It is handed over once.
        await store.NoteAsync(old, [(JobStore.Begun, new JsonObject { ["reason"] = "runs" }), ("log", new JsonObject { ["message"] = "a" })], heard: 40);
        Assert.Equal(JobStatus.Running, (await store.FindAsync("job-a"))!.Status);
        Assert.Null(await store.TakeOverAsync("slurm", "second", Lease)); // Its server lives.
        await store.TakeBackAsync(all: true);
        Assert.Equal(JobStatus.Running, (await store.FindAsync("job-a"))!.Status);
        Assert.Null(await store.TakeOverAsync("kubernetes", "second", Lease));
        Job taken = (await store.TakeOverAsync("slurm", "second", Lease))!;
        Assert.Equal(("slurm:nibble-job-a-1", 40, 2, JobStatus.Running), (taken.ClusterJob, taken.ClusterHeard, taken.Attempts, taken.Status));
        await RefusesAsync(store, old);
        await store.LeaveToOthersAsync(LeaseOf(taken), TimeSpan.Zero);
        await store.WishAsync("job-a", JobWish.Cancel); // Whoever takes it over next does that.
        Job last = (await store.TakeOverAsync("slurm", "third", Lease))!;
        Assert.Equal((JobStatus.Running, JobWish.Cancel), (last.Status, last.Wish));
        await store.EndAttemptAsync(LeaseOf(last), JobStatus.Cancelled, "gone", TimeSpan.Zero);
        Assert.Null((await store.FindAsync("job-a"))!.ClusterJob);
        Assert.Null(await store.TakeOverAsync("slurm", "third", Lease));
    }

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task An_attempt_that_is_over_can_write_nothing_more(string kind)
    {
        using TestStore test = await TestStore.NewAsync(kind, server);
        JobStore store = test.Open();
        await store.AddAsync(TestStore.Job("a"), Many);
        JobLease old = LeaseOf((await ClaimAsync(store))!);
        await store.TakeBackAsync(all: false);
        await store.RenewAsync(old, Lease, TimeSpan.Zero); // Its lease is not over.
        test.Ask("UPDATE \"Jobs\" SET \"LeaseUntil\" = 1"); // As if time had passed, or the database's clock had been set forward.
        await store.RenewAsync(old, Lease, TimeSpan.Zero); // It comes in time: nobody has taken the job.
        test.Ask("UPDATE \"Jobs\" SET \"LeaseUntil\" = 1");
        await store.TakeBackAsync(all: false);
        await RefusesAsync(store, old);
        await HastenAsync(test, store);
        JobLease next = LeaseOf((await ClaimAsync(store))!);
        Assert.Equal(old.Attempt + 1, next.Attempt);
        await RefusesAsync(store, old);
        await store.NoteAsync(next, [("metrics", new JsonObject { ["step"] = 3, ["loss"] = 1.5 })]);
        Assert.Equal(JobStatus.Completed, await store.EndAttemptAsync(next, JobStatus.Completed, "done", TimeSpan.FromSeconds(2)));
        await RefusesAsync(store, next);
        Job job = (await store.FindAsync("job-a"))!;
        Assert.Equal((2000, "{\"loss\":1.5}"), (job.RunTime, job.Metrics));
        Assert.Equal(["pending", "running", "pending", "running", null, "completed"], (await store.EventsAsync(job, 0, 10, default)).Select(StatusOf));
    }

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task A_job_that_dies_rests_ever_longer_and_fails_when_it_gets_no_farther(string kind)
    {
        using TestStore test = await TestStore.NewAsync(kind, server);
        JobStore store = test.Open();
        await store.AddAsync(TestStore.Job("a"), Many);
        var reached = new Dictionary<int, int> { [3] = 10, [5] = 10, [7] = 10 }; // Only the first of these gets farther.
        foreach ((int attempt, int seconds) in new[] { (1, 1), (2, 2), (3, 1), (4, 2), (5, 4) })
        {
            JobLease lease = LeaseOf((await ClaimAsync(store))!);
            Assert.Equal(attempt, lease.Attempt);
            await (reached.TryGetValue(attempt, out int step) ? store.NoteAsync(lease, [("progress", new JsonObject { ["step"] = step })]) : Task.CompletedTask);
            Assert.Equal(JobStatus.Pending, await store.EndAttemptInDeathAsync(lease, "killed", TimeSpan.Zero));
            Assert.Null(await ClaimAsync(store));
            string clock = kind == "SQLite" ? "unixepoch('subsec')" : "EXTRACT(EPOCH FROM clock_timestamp())";
            double rest = double.Parse(test.Ask($"SELECT (\"DueAt\" / 1000.0) - {clock} FROM \"Jobs\"")[0]);
            Assert.InRange(rest, seconds - 1, seconds);
            await HastenAsync(test, store);
        }

        Assert.Equal(JobStatus.Failed, await store.EndAttemptInDeathAsync(LeaseOf((await ClaimAsync(store))!), "killed", TimeSpan.Zero));
        Assert.Contains("got no farther", (await store.FindAsync("job-a"))!.Error, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task What_is_wished_is_done_at_once_where_nothing_runs_and_else_when_the_attempt_ends(string kind)
    {
        using TestStore test = await TestStore.NewAsync(kind, server);
        JobStore store = test.Open();
        await store.AddAsync(TestStore.Job("a"), Many);
        Assert.False((await store.ResumeAsync("job-a")).Accepted);
        Assert.Equal(JobStatus.Paused, (await store.WishAsync("job-a", JobWish.Pause)).Job!.Status);
        Assert.Null(await ClaimAsync(store));
        Assert.Equal(JobStatus.Pending, (await store.ResumeAsync("job-a")).Job!.Status);

        JobLease lease = LeaseOf((await ClaimAsync(store))!);
        Assert.Null(await store.WishAsync(lease));
        Assert.Equal(JobStatus.Running, (await store.WishAsync("job-a", JobWish.Pause)).Job!.Status);
        Assert.Equal(JobWish.Pause, await store.RenewAsync(lease, Lease, TimeSpan.Zero));
        Assert.Equal(JobStatus.Paused, await store.EndAttemptInDeathAsync(lease, "killed", TimeSpan.Zero)); // Died before it could pause.
        await store.ResumeAsync("job-a");

        lease = LeaseOf((await ClaimAsync(store))!);
        await store.WishAsync("job-a", JobWish.Cancel);
        Assert.True((await store.WishAsync("job-a", JobWish.Pause)).Accepted);
        Assert.Equal(JobWish.Cancel, await store.WishAsync(lease)); // Outweighs the other.
        await store.TakeBackAsync(all: true);
        Assert.Equal(JobStatus.Cancelled, (await store.FindAsync("job-a"))!.Status);
        Assert.False((await store.WishAsync("job-a", JobWish.Pause)).Accepted);
        Assert.Equal((null, false), await store.WishAsync("job-b", JobWish.Pause));
        IReadOnlyList<JobEvent> events = await store.EventsAsync((await store.FindAsync("job-a"))!, 0, 20, default);
        Assert.Equal(["pending", "paused", "pending", "running", "paused", "pending", "running", "cancelled"], events.Select(StatusOf));
        Assert.All(events, item => Assert.NotEmpty(JsonNode.Parse(item.Data)!["reason"]!.GetValue<string>()));
    }

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task Jobs_are_added_once_for_a_key_one_for_a_folder_and_no_more_than_may_wait(string kind)
    {
        using TestStore test = await TestStore.NewAsync(kind, server);
        JobStore[] stores = kind == "SQLite" ? [test.Open()] : [test.Open(), test.Open()];
        Addition[] same = await Task.WhenAll(Enumerable.Range(0, 6).Select(async i => (await stores[i % stores.Length].AddAsync(TestStore.Job($"key-{i}", "key"), Many)).Outcome));
        Assert.Equal((1, 5), (same.Count(item => item == Addition.Added), same.Count(item => item == Addition.Repeated)));
        Assert.Equal(Addition.Added, (await stores[0].AddAsync(TestStore.Job("folder"), Many)).Outcome);
        await stores[0].WishAsync("job-folder", JobWish.Pause);
        Assert.Equal(Addition.FolderTaken, (await stores[0].AddAsync(TestStore.Job("folder"), Many)).Outcome); // A paused job still has it.
        Addition[] many = await Task.WhenAll(Enumerable.Range(0, 6).Select(async i => (await stores[i % stores.Length].AddAsync(TestStore.Job($"many-{i}"), 4)).Outcome));
        Assert.Equal((3, 3), (many.Count(item => item == Addition.Added), many.Count(item => item == Addition.QueueFull))); // One waits already.
    }

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task A_large_job_waits_for_memory_and_is_not_overtaken(string kind)
    {
        using TestStore test = await TestStore.NewAsync(kind, server);
        JobStore store = test.Open();
        await store.AddAsync(TestStore.Job("large", memory: 100), Many);
        await store.AddAsync(TestStore.Job("small", memory: 1), Many);
        Assert.Null(await store.ClaimAsync("cpu", 99, "server", Lease));
        Assert.Null(await store.ClaimAsync("cuda:0", 100, "server", Lease));
        Assert.Equal("job-large", (await store.ClaimAsync("cpu", 100, "server", Lease))!.Id);
        Assert.Equal("job-small", (await store.ClaimAsync("cpu", 1, "server", Lease))!.Id);
    }

    private static Task<Job?> ClaimAsync(JobStore store) => store.ClaimAsync("cpu", 0, "server", Lease);

    private static JobLease LeaseOf(Job job) => new(job.Number, job.Attempts);

    private static string? StatusOf(JobEvent item) => JsonNode.Parse(item.Data)!["status"]?.GetValue<string>();

    /// <summary>Ends the rest after a death.</summary>
    private static async Task HastenAsync(TestStore test, JobStore store)
    {
        test.Ask("UPDATE \"Jobs\" SET \"DueAt\" = 0");
        Assert.Equal(JobStatus.Pending, (await store.FindAsync("job-a"))!.Status);
    }

    private static async Task RefusesAsync(JobStore store, JobLease lease)
    {
        Job before = (await store.FindAsync("job-a"))!;
        await Assert.ThrowsAsync<LeaseLostException>(() => store.RenewAsync(lease, Lease, TimeSpan.FromSeconds(1)));
        await Assert.ThrowsAsync<LeaseLostException>(() => store.WishAsync(lease));
        await Assert.ThrowsAsync<LeaseLostException>(() => store.NoteAsync(lease, [("progress", new JsonObject { ["step"] = 99 })]));
        await Assert.ThrowsAsync<LeaseLostException>(() => store.EndAttemptAsync(lease, JobStatus.Failed, "late", TimeSpan.Zero));
        await Assert.ThrowsAsync<LeaseLostException>(() => store.EndAttemptInDeathAsync(lease, "late", TimeSpan.Zero));
        Assert.Equivalent(before, await store.FindAsync("job-a"));
    }
}
