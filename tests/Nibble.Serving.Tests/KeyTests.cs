using System.Net;
using System.Text.Json.Nodes;
using Nibble.Serving.Keys;
using Nibble.Serving.Store;

namespace Nibble.Serving.Tests;

/// <summary>Who may do what, how often, and what is noted of it.</summary>
[Collection("service")]
public class KeyTests(PostgresServer server)
{
    private static readonly TimeSpan Lease = TimeSpan.FromSeconds(60);

    [Fact]
    public async Task Keys_are_made_listed_and_revoked_while_the_service_runs()
    {
        await using Service service = await Service.StartAsync();
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(service, "GET", "/v1/jobs")); // Nobody needs a key before there is one.
        (int code, string text, string note) = await service.RunAsync("keys", "create", "--name", "page", "--scope", "read", "--rate", "100");
        Assert.Equal(0, code);
        Assert.Matches("^nibble_[0-9a-f]{16}_[A-Za-z0-9_-]{43}$", text);
        string id = text.Split('_')[1];
        Assert.Contains(id, note, StringComparison.Ordinal);
        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync(service, "GET", "/v1/jobs"));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(service, "GET", "/v1/jobs", text));

        string list = (await service.RunAsync("keys", "list", "--json")).Output;
        Assert.DoesNotContain(text.Split('_', 3)[2], list, StringComparison.Ordinal);
        JsonObject listed = JsonNode.Parse(list)!.AsArray().Single()!.AsObject();
        Assert.Equal((id, "page", "read", 100), (listed["id"]!.GetValue<string>(), listed["name"]!.GetValue<string>(), listed["scope"]!.GetValue<string>(), listed["rate"]!.GetValue<int>()));
        Assert.NotNull(listed["last_used"]);
        Assert.Null(listed["revoked"]);

        Assert.Equal(0, (await service.RunAsync("keys", "revoke", id)).Code);
        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync(service, "GET", "/v1/jobs", text)); // Nor does that open the service again.
        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync(service, "GET", "/v1/jobs"));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(service, "GET", "/health"));
        await service.TerminateAsync();
        Assert.Equal(2, (await service.RefuseAsync("--urls", "http://0.0.0.0:0")).Code); // None of the keys is good.
    }

    [Fact]
    public async Task A_key_that_makes_no_sense_is_not_made()
    {
        using TestStore test = await TestStore.NewAsync("SQLite", server);
        using var keys = new KeyRing(test.Address);
        foreach ((string name, int? rate, int? concurrency, string option) in new (string, int?, int?, string)[]
        {
            ("", null, null, "--name"), ("a\u001b[2J", null, null, "--name"), (new string('a', 101), null, null, "--name"), ("a", 0, null, "--rate"), ("a", null, -1, "--concurrency"),
        })
        {
            ArgumentException refused = await Assert.ThrowsAsync<ArgumentException>(() => keys.CreateAsync(name, KeyScope.Read, rate, concurrency));
            Assert.Contains(option, refused.Message, StringComparison.Ordinal);
        }

        Assert.Empty(await keys.ListAsync());
        Assert.False(await keys.RevokeAsync("0"));
    }

    [Fact]
    public async Task A_key_opens_a_public_address_to_its_scope_alone()
    {
        await using Service service = await Service.StartAsync();
        (string Id, string Text)[] keys = [await service.KeyAsync(KeyScope.Read), await service.KeyAsync(KeyScope.Train), await service.KeyAsync(KeyScope.Admin)];
        await service.TerminateAsync();
        await service.StartAgainAsync("--urls", "http://0.0.0.0:0");
        service.Client.BaseAddress = new UriBuilder(service.Client.BaseAddress!) { Host = "127.0.0.1" }.Uri;
        foreach ((string method, string path, KeyScope needed, int otherwise) in new[]
        {
            ("GET", "/v1/jobs", KeyScope.Read, 200), ("HEAD", "/v1/jobs", KeyScope.Read, 405), ("GET", "/v1/jobs/job-0", KeyScope.Read, 404), ("GET", "/v1/jobs/job-0/events", KeyScope.Read, 404),
            ("POST", "/v1/jobs", KeyScope.Train, 415), ("DELETE", "/v1/jobs/job-0", KeyScope.Train, 404), ("POST", "/v1/jobs/job-0/pause", KeyScope.Train, 404),
            ("POST", "/v1/jobs/job-0/resume", KeyScope.Train, 404), ("GET", "/v1/audit", KeyScope.Admin, 200), ("GET", "/unheard-of", KeyScope.Read, 404),
            ("POST", "/unheard-of", KeyScope.Train, 404), ("PUT", "/v1/jobs", KeyScope.Train, 405),
        })
        {
            Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync(service, method, path));
            for (int scope = 0; scope < keys.Length; scope++)
            {
                using HttpResponseMessage response = await SendAsync(service, method, path, keys[scope].Text);
                Assert.True((int)response.StatusCode == (scope < (int)needed ? 403 : otherwise), $"{method} {path} with {(KeyScope)scope}: {response.StatusCode}");
                if (response.StatusCode == HttpStatusCode.Forbidden)
                {
                    Assert.Equal($"{needed}".ToLowerInvariant(), (await Service.BodyAsync(response))["scope"]!.GetValue<string>());
                }
            }
        }
    }

    [Fact]
    public async Task A_key_that_asks_too_often_is_told_when_to_come_again()
    {
        await using Service service = await Service.StartAsync();
        string slow = (await service.KeyAsync(KeyScope.Read, rate: 3)).Text;
        string other = (await service.KeyAsync(KeyScope.Read)).Text;
        foreach ((string method, HttpStatusCode status) in new[] { ("GET", HttpStatusCode.OK), ("GET", HttpStatusCode.OK), ("POST", HttpStatusCode.Forbidden), ("POST", HttpStatusCode.TooManyRequests) })
        {
            Assert.Equal(status, await StatusAsync(service, method, "/v1/jobs", slow));
        }

        using HttpResponseMessage refused = await SendAsync(service, "GET", "/v1/jobs", slow);
        Assert.Equal(TimeSpan.FromSeconds(10), refused.Headers.RetryAfter!.Delta);
        Assert.Equal("application/problem+json", refused.Content.Headers.ContentType!.MediaType);
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(service, "GET", "/v1/jobs", other));
        using HttpResponseMessage openAi = await SendAsync(service, "GET", "/v1/models", slow);
        Assert.Equal(TimeSpan.FromSeconds(10), openAi.Headers.RetryAfter!.Delta);
        Assert.Equal("rate_limit_error", (string?)(await Service.BodyAsync(openAi))["error"]!["type"]); // As its clients read it.
    }

    [Fact]
    public async Task A_job_is_seen_by_all_keys_and_changed_by_its_own_or_an_admins_alone()
    {
        await using Service service = await Service.StartAsync();
        string nobodys = await service.CreateAsync(Service.Request("nobodys", 100_000)); // Before there was a key.
        string[] keys = [(await service.KeyAsync(KeyScope.Train)).Text, (await service.KeyAsync(KeyScope.Train)).Text, (await service.KeyAsync(KeyScope.Admin)).Text];
        service.Client.DefaultRequestHeaders.Authorization = new("Bearer", keys[0]);
        string job = await service.CreateAsync(Service.Request("mine"));
        service.Client.DefaultRequestHeaders.Authorization = null;
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(service, "GET", $"/v1/jobs/{job}", keys[1]));
        foreach ((string method, string path) in new[]
        {
            ("DELETE", $"/v1/jobs/{job}"), ("POST", $"/v1/jobs/{job}/pause"), ("POST", $"/v1/jobs/{job}/resume"), ("POST", $"/v1/fine_tuning/jobs/{job}/cancel"),
            ("POST", $"/v1/fine_tuning/jobs/{job}/pause"), ("POST", $"/v1/fine_tuning/jobs/{job}/resume"),
        })
        {
            Assert.Equal(HttpStatusCode.Forbidden, await StatusAsync(service, method, path, keys[1]));
        }

        Assert.Equal(HttpStatusCode.OK, await StatusAsync(service, "POST", $"/v1/jobs/{job}/pause", keys[0]));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(service, "POST", $"/v1/jobs/{job}/resume", keys[2]));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(service, "DELETE", $"/v1/jobs/{job}", keys[2]));
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(service, "DELETE", $"/v1/jobs/{nobodys}", keys[1]));
    }

    [Fact]
    public async Task An_address_that_tries_key_after_key_is_told_to_wait_and_shuts_nobody_out()
    {
        await using Service service = await Service.StartAsync();
        (string id, string good) = await service.KeyAsync(KeyScope.Read);
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync(service, "GET", "/v1/jobs", $"nibble_{id}_{i}"));
        }

        using HttpResponseMessage refused = await SendAsync(service, "GET", "/v1/jobs", "another");
        Assert.Equal(HttpStatusCode.TooManyRequests, refused.StatusCode);
        Assert.Equal(TimeSpan.FromSeconds(10), refused.Headers.RetryAfter!.Delta);
        Assert.Equal(HttpStatusCode.OK, await StatusAsync(service, "GET", "/v1/jobs", good)); // From the same address, which may be that of a proxy.
        Assert.Equal(HttpStatusCode.Unauthorized, await StatusAsync(service, "GET", "/v1/jobs")); // Which tries nothing.
    }

    [Theory]
    [MemberData(nameof(TestStore.Kinds), MemberType = typeof(TestStore))]
    public async Task A_keys_jobs_run_as_many_at_a_time_as_it_may_and_others_overtake_them(string kind)
    {
        using TestStore test = await TestStore.NewAsync(kind, server);
        JobStore[] stores = kind == "SQLite" ? [test.Open()] : [test.Open(), test.Open(), test.Open()];
        using (var keys = new KeyRing(test.Address))
        {
            string id = (await keys.CreateAsync("two", KeyScope.Train, rate: null, concurrency: 2)).Key.Id;
            for (int i = 0; i < 5; i++)
            {
                await stores[0].AddAsync(TestStore.Job($"{i}", keyId: id), 100);
            }

            await stores[0].AddAsync(TestStore.Job("other", keyId: (await keys.CreateAsync("any", KeyScope.Train, rate: null, concurrency: null)).Key.Id), 100);
            await stores[0].AddAsync(TestStore.Job("nobodys"), 100);
        }

        Job?[] taken = await Task.WhenAll(Enumerable.Range(0, 9).Select(i => stores[i % stores.Length].ClaimAsync("cpu", 0, "server", Lease)));
        Job[] running = [.. taken.OfType<Job>().OrderBy(job => job.Number)];
        Assert.Equal(["job-0", "job-1", "job-other", "job-nobodys"], running.Select(job => job.Id));
        await stores[0].EndAttemptAsync(new JobLease(running[0].Number, 1), JobStatus.Completed, "done", TimeSpan.Zero);
        Assert.Equal("job-2", (await stores[^1].ClaimAsync("cpu", 0, "server", Lease))!.Id);
        Assert.Null(await stores[^1].ClaimAsync("cpu", 0, "server", Lease));
    }

    [Fact]
    public async Task What_was_done_and_what_was_refused_is_noted_and_outlives_the_service()
    {
        await using Service service = await Service.StartAsync();
        (string readerId, string reader) = await service.KeyAsync(KeyScope.Read);
        (string trainerId, string trainer) = await service.KeyAsync(KeyScope.Train);
        string admin = (await service.KeyAsync(KeyScope.Admin)).Text;
        await StatusAsync(service, "GET", "/v1/jobs", reader); // Not noted.
        await StatusAsync(service, "POST", "/v1/jobs?token=" + Service.Secret, reader);
        await StatusAsync(service, "GET", "/v1/jobs/" + Uri.EscapeDataString(Service.Secret), "nibble_0123456789abcdef_" + new string('x', 43));
        service.Client.DefaultRequestHeaders.Authorization = new("Bearer", trainer);
        string job = await service.CreateAsync(Service.Request("noted", 100_000));
        using HttpResponseMessage cancelled = await service.Client.DeleteAsync($"/v1/jobs/{job}");
        service.Client.DefaultRequestHeaders.Authorization = null;
        await StatusAsync(service, "POST", "/v1/jobs/job-0/pause", trainer);
        await service.TerminateAsync();
        await service.StartAgainAsync();
        using HttpResponseMessage response = await SendAsync(service, "GET", "/v1/audit", admin);
        string text = await response.Content.ReadAsStringAsync();
        Assert.Equal(
            [
                ("POST", "/v1/jobs/{id}/pause", 404, trainerId, null), ("DELETE", "/v1/jobs/{id}", 200, trainerId, job), ("POST", "/v1/jobs", 201, trainerId, job),
                ("GET", "/v1/jobs/{id}", 401, null, null), ("POST", "/v1/jobs", 403, readerId, null),
            ],
            JsonNode.Parse(text)!["data"]!.AsArray().Select(entry => (
                (string)entry!["method"]!, (string)entry["route"]!, (int)entry["status"]!, (string?)entry["key"], (string?)entry["job"])));
        Assert.Equal(5, File.ReadAllLines(service["home/audit.jsonl"]).Length);
        foreach (string secret in (string[])[Service.Secret, reader.Split('_', 3)[2], trainer.Split('_', 3)[2], new string('x', 43)])
        {
            Assert.DoesNotContain(secret, text, StringComparison.Ordinal);
        }
    }

    private static async Task<HttpStatusCode> StatusAsync(Service service, string method, string path, string? key = null)
    {
        using HttpResponseMessage response = await SendAsync(service, method, path, key);
        return response.StatusCode;
    }

    private static async Task<HttpResponseMessage> SendAsync(Service service, string method, string path, string? key)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path) { Headers = { Authorization = key is null ? null : new("Bearer", key) } };
        return await service.Client.SendAsync(request);
    }
}
