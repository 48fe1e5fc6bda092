using System.Net;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests;

/// <summary>What the interface accepts, and what it refuses with which words.</summary>
[Collection("service")]
public class RequestTests
{
    [Fact]
    public async Task A_bad_request_is_refused_with_the_field_named()
    {
        await using Service service = await Service.StartAsync();
        Directory.CreateDirectory(service["outputs/used"]);
        File.WriteAllText(service["outputs/used/run.json"], "{}");
        await RefusesAsync(service, "model_name", request => request.Remove("model_name"));
        await RefusesAsync(service, "model_name", request => request["model_name"] = null);
        await RefusesAsync(service, "model_name", request => request["model_name"] = "unheard-of");
        await RefusesAsync(service, "training_data_path", request => request["training_data_path"] = "unheard-of.jsonl");
        await RefusesAsync(service, "lora_r", request => request["lora_r"] = "eight");
        await RefusesAsync(service, "lora_r", request => request["lora_r"] = 0);
        await RefusesAsync(service, "learning_rate", request => request["learning_rate"] = -1);
        await RefusesAsync(service, "num_epochs", request => request["num_epochs"] = 0);
        await RefusesAsync(service, "batch_size", request => request["batch_size"] = 0);
        await RefusesAsync(service, "lora_rank", request => request["lora_rank"] = 8);
        await RefusesAsync(service, "config.training.steps", request => request["config"] = new JsonObject { ["training"] = new JsonObject { ["steps"] = 3 } });
        await RefusesAsync(service, "config.training.max_steps", request => request["config"] = new JsonObject { ["training.max_steps"] = "many" });
        await RefusesAsync(service, "config.training.warmup_ratio", request => request["config"] = new JsonObject { ["training.warmup_ratio"] = 2 });
        await RefusesAsync(service, "config.model", request => request["config"] = new JsonObject { ["model"] = "other" });
        await RefusesAsync(service, "config.output_dir", request => request["config"] = new JsonObject { ["output_dir=/tmp/x"] = 1 });
        await RefusesAsync(service, "use_lora", request => (request["use_lora"], request["config"]) = (true, new JsonObject { ["method"] = "full" }));
        await RefusesAsync(service, "learning_rate", request => request["learning_rate"] = JsonNode.Parse("1e400"));
        await RefusesAsync(service, "config.training.max_grad_norm", request => request["config"] = new JsonObject { ["training.max_grad_norm"] = JsonNode.Parse("1e400") });
        await RefusesAsync(service, "output_dir", request => request["output_dir"] = new string('a', 256));
        await RefusesAsync(service, "output_dir", request => request["output_dir"] = string.Concat(Enumerable.Repeat("a/", 513)));
        await RefusesAsync(service, "output_dir", request => request["output_dir"] = "used", HttpStatusCode.Conflict);
        await RefusesAsync(service, "output_dir", request => request["output_dir"] = "used/checkpoint-9", HttpStatusCode.Conflict);
        await RefusesAsync(service, "output_dir", request => request["output_dir"] = "used/run.json/x", HttpStatusCode.Conflict);

        await service.CreateAsync(Service.Request("team/busy", 100_000));
        foreach (string folder in (string[])["team", "team/busy", "team/busy/checkpoint-9"])
        {
            await RefusesAsync(service, "output_dir", request => request["output_dir"] = folder, HttpStatusCode.Conflict);
        }

        Assert.Single((await service.GetAsync("/v1/jobs"))["data"]!.AsArray());
    }

    [Fact]
    public async Task A_path_that_leads_out_of_the_services_folders_is_refused()
    {
        await using Service service = await Service.StartAsync();
        Directory.CreateDirectory(service["secret"]);
        File.WriteAllText(service["secret/train.jsonl"], "{}");
        File.CreateSymbolicLink(service["data/link.jsonl"], service["secret/train.jsonl"]);
        Directory.CreateSymbolicLink(service["data/folder"], service["secret"]);
        Directory.CreateSymbolicLink(service["data/up"], "../secret");
        Directory.CreateSymbolicLink(service["data/loop"], "loop");
        Directory.CreateSymbolicLink(service["outputs/out"], service["secret"]);
        Directory.CreateDirectory(service["outputs/trap"]);
        File.CreateSymbolicLink(service["outputs/trap/metrics.jsonl"], service["secret/metrics.jsonl"]);
        Directory.CreateDirectory(service["data2"]); // Begins like the folder, and is another.
        File.WriteAllText(service["data2/train.jsonl"], "{}");
        foreach (string path in (string[])
        [
            "../secret/train.jsonl", "folder/../../secret/train.jsonl", service["secret/train.jsonl"], service["data2/train.jsonl"], "/etc/passwd", "link.jsonl",
            "folder/train.jsonl", "up/train.jsonl", "loop/train.jsonl", "train.jsonl\0", "\0", "", ".", "..\\secret", "train.jsonl\n",
        ])
        {
            await RefusesAsync(service, "training_data_path", request => request["training_data_path"] = path);
            await RefusesAsync(service, "config.data.eval", request => request["config"] = new JsonObject { ["data.eval"] = path.Length == 0 ? "/etc" : path }, anyField: path.Any(char.IsControl));
        }

        foreach (string path in (string[])["../secret", "/tmp/x", "out", "out/new", "trap", "a/../../secret", "x\0y", ".", ""])
        {
            await RefusesAsync(service, "output_dir", request => request["output_dir"] = path);
        }

        foreach (string path in (string[])["..", "../secret", "/", "stories/.."])
        {
            await RefusesAsync(service, "model_name", request => request["model_name"] = path);
        }

        await RefusesAsync(service, "config.data.chat_template", request => request["config"] = new JsonObject { ["data.chat_template"] = "/etc/passwd" });
        await RefusesAsync(service, "config.lora.init_adapter", request => request["config"] = new JsonObject { ["lora"] = new JsonObject { ["init_adapter"] = "../secret" } });
        Assert.Empty((await service.GetAsync("/v1/jobs"))["data"]!.AsArray());
    }

    [Fact]
    public async Task The_same_key_makes_one_job_however_often_it_is_sent()
    {
        await using Service service = await Service.StartAsync();
        HttpResponseMessage[] responses = await Task.WhenAll(Enumerable.Range(0, 5).Select(_ => PostAsync(service, Service.Request("once", 2), "key-1")));
        Assert.Equal(1, responses.Count(response => response.StatusCode == HttpStatusCode.Created));
        Assert.Equal(4, responses.Count(response => response.StatusCode == HttpStatusCode.OK));
        string id = (await Service.BodyAsync(responses[0]))["job_id"]!.GetValue<string>();
        await service.UntilAsync(id, "completed");

        using HttpResponseMessage later = await PostAsync(service, Service.Request("once", 2), "key-1");
        Assert.Equal((HttpStatusCode.OK, id), (later.StatusCode, (await Service.BodyAsync(later))["job_id"]!.GetValue<string>()));
        using HttpResponseMessage other = await PostAsync(service, Service.Request("twice", 2), "key-1");
        Assert.Equal(HttpStatusCode.UnprocessableEntity, other.StatusCode);
        Assert.NotNull((await Service.BodyAsync(other))["errors"]!["Idempotency-Key"]);
        Assert.Single((await service.GetAsync("/v1/jobs"))["data"]!.AsArray());
    }

    [Fact]
    public async Task The_list_comes_in_pages_the_newest_first_and_can_be_filtered()
    {
        await using Service service = await Service.StartAsync();
        List<string> ids = [await service.CreateAsync(Service.Request("busy", 100_000))];
        for (int i = 0; i < 4; i++)
        {
            ids.Add(await service.CreateAsync(Service.Request($"waits-{i}")));
        }

        await service.UntilAsync(ids[0], "running");
        ids.Reverse();
        JsonObject first = await service.GetAsync("/v1/jobs?limit=2");
        Assert.Equal(ids[..2], Ids(first));
        Assert.True(first["has_more"]!.GetValue<bool>());
        JsonObject rest = await service.GetAsync($"/v1/jobs?limit=3&after={ids[1]}");
        Assert.Equal(ids[2..], Ids(rest));
        Assert.False(rest["has_more"]!.GetValue<bool>());
        Assert.Equal(ids[4..], Ids(await service.GetAsync("/v1/jobs?status=running")));
        Assert.Equal(ids[..4], Ids(await service.GetAsync("/v1/jobs?status=pending")));
        JsonObject health = await service.GetAsync("/health");
        Assert.Equal(("ok", 4, 1), (health["status"]!.GetValue<string>(), health["pending"]!.GetValue<int>(), health["running"]!.GetValue<int>()));
        foreach ((string query, string field) in new[] { ("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("status=done", "status"), ("status=0", "status"), ("after=job-1", "after") })
        {
            await Problem.IsAsync(await service.Client.GetAsync($"/v1/jobs?{query}"), HttpStatusCode.UnprocessableEntity, field);
        }
    }

    [Fact]
    public async Task What_is_not_there_or_not_json_is_refused_as_a_problem()
    {
        await using Service service = await Service.StartAsync();
        await Problem.IsAsync(await service.Client.GetAsync("/v1/jobs/job-0"), HttpStatusCode.NotFound);
        await Problem.IsAsync(await service.Client.DeleteAsync("/v1/jobs/job-0"), HttpStatusCode.NotFound);
        await Problem.IsAsync(await service.Client.GetAsync("/v2"), HttpStatusCode.NotFound);
        await Problem.IsAsync(await service.Client.PutAsync("/v1/jobs", null), HttpStatusCode.MethodNotAllowed);
        await Problem.IsAsync(await PostTextAsync(service, "{\"model_name\": ", "application/json"), HttpStatusCode.BadRequest);
        await Problem.IsAsync(await PostTextAsync(service, new string('[', 100) + new string(']', 100), "application/json"), HttpStatusCode.BadRequest);
        await Problem.IsAsync(await PostTextAsync(service, "[]", "application/json"), HttpStatusCode.UnprocessableEntity, "body");
        await Problem.IsAsync(await PostTextAsync(service, "null", "application/json"), HttpStatusCode.UnprocessableEntity, "body");
        await Problem.IsAsync(await PostTextAsync(service, Service.Request("x").ToJsonString(), "text/plain"), HttpStatusCode.UnsupportedMediaType, words: "must be application/json");
        await Problem.IsAsync(await PostTextAsync(service, "", "application/json"), HttpStatusCode.BadRequest, words: "The body is empty.");
        await Problem.IsAsync(await PostTextAsync(service, "{\n\"lora_r\": 8,}", "application/json"), HttpStatusCode.BadRequest, words: "trailing comma at the end), in line 2 at byte 13.");
        await Problem.IsAsync(await PostTextAsync(service, new string(' ', 300_000) + "{}", "application/json"), HttpStatusCode.RequestEntityTooLarge);
        Assert.Equal("ok", (await service.GetAsync("/health/live"))["status"]!.GetValue<string>());
        Assert.Equal("ok", (await service.GetAsync("/health/ready"))["status"]!.GetValue<string>());
        using var elsewhere = new HttpRequestMessage(HttpMethod.Get, "/v1/jobs") { Headers = { Host = "evil.example" } };
        using HttpResponseMessage rebound = await service.Client.SendAsync(elsewhere);
        Assert.Equal(HttpStatusCode.BadRequest, rebound.StatusCode);
    }

    [Fact]
    public async Task A_service_that_others_could_reach_without_a_key_does_not_start()
    {
        await using Service service = await Service.StartAsync();
        foreach (string url in (string[])["http://0.0.0.0:0", "http://*:0", "http://+:0", "http://[::]:0", "http://localhost.example:0", "http://127.0.0.1:0;http://0.0.0.0:0"])
        {
            (int code, string error) = await service.RefuseAsync("--database", service["other.db"], "--urls", url);
            Assert.Equal(2, code);
            Assert.Contains("nibble keys create", error, StringComparison.Ordinal);
        }

        (int second, string busy) = await service.RefuseAsync();
        Assert.Equal(1, second);
        Assert.Contains("another service", busy, StringComparison.Ordinal);
        (int third, string taken) = await service.RefuseAsync("--database", service["other.db"], "--urls", service.Client.BaseAddress!.ToString());
        Assert.Equal(1, third);
        Assert.Contains("cannot be listened at", Assert.Single(taken.Split('\n')), StringComparison.Ordinal);
    }

    private static List<string> Ids(JsonObject page) => [.. page["data"]!.AsArray().Select(job => job!["job_id"]!.GetValue<string>())];

    private static async Task RefusesAsync(
        Service service, string field, Action<JsonObject> change, HttpStatusCode status = HttpStatusCode.UnprocessableEntity, bool anyField = false)
    {
        JsonObject request = Service.Request("new");
        change(request);
        using HttpResponseMessage response = await service.Client.PostAsJsonAsync("/v1/jobs", request);
        await Problem.IsAsync(response, status, anyField ? null : field);
    }

    private static Task<HttpResponseMessage> PostTextAsync(Service service, string body, string type) =>
        service.Client.PostAsync("/v1/jobs", new StringContent(body, Encoding.UTF8, type));

    private static Task<HttpResponseMessage> PostAsync(Service service, JsonObject request, string key) =>
        service.Client.SendAsync(new HttpRequestMessage(HttpMethod.Post, "/v1/jobs") { Content = JsonContent.Create(request), Headers = { { "Idempotency-Key", key } } });
}
