using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests;

/// <summary>What the requests in OpenAI's shape refuse, and with which words.</summary>
[Collection("service")]
public class OpenAiRequestTests
{
    private const string Good = """{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}""" + "\n";

    [Fact]
    public async Task An_upload_that_cannot_be_used_is_refused_with_its_line_and_leaves_nothing()
    {
        await using Service service = await Service.StartAsync("--max-upload", "0.001MB", "--max-files", "2");
        await RefusesAsync(400, "file", "bad.jsonl: line 2: ", service.Client.PostAsync("/v1/files", Form(Good + "{\"messages\": 1}\n", "bad.jsonl")));
        await RefusesAsync(400, "file", "line 2: ", service.Client.PostAsync("/v1/files", Form(Good + "{\n", "bad.jsonl")));
        await RefusesAsync(400, "file", "no assistant turn", service.Client.PostAsync("/v1/files", Form("""{"messages": [{"role": "user", "content": "a"}]}""", "bad.jsonl")));
        await RefusesAsync(400, "file", "expected a JSON object", service.Client.PostAsync("/v1/files", Form($"[{Good}]", "bad.jsonl")));
        await RefusesAsync(400, "file", "empty.jsonl: is empty.", service.Client.PostAsync("/v1/files", Form("", "empty.jsonl")));
        await RefusesAsync(400, "file", "line 2: is not UTF-8.", service.Client.PostAsync("/v1/files", Form(Good + Good.Replace('b', 'é'), "latin.jsonl", encoding: Encoding.Latin1)));
        await RefusesAsync(400, "file", "ends with .jsonl", service.Client.PostAsync("/v1/files", Form(Good, "good.csv")));
        await RefusesAsync(400, "purpose", "is 'batch'", service.Client.PostAsync("/v1/files", Form(Good, "good.jsonl", "batch")));
        await RefusesAsync(400, "expires_after", "is not supported", service.Client.PostAsync("/v1/files", Form(Good, "good.jsonl", more: "expires_after")));
        await RefusesAsync(413, "file", "more than 1000 bytes", service.Client.PostAsync("/v1/files", Form(string.Concat(Enumerable.Repeat(Good, 20)), "long.jsonl")));
        await RefusesAsync(413, null, "", service.Client.PostAsync("/v1/files", Form(new string(' ', 100_000), "long.jsonl")));
        await RefusesAsync(415, null, "multipart/form-data", service.Client.PostAsJsonAsync("/v1/files", new { }));
        using var foreign = new HttpRequestMessage(HttpMethod.Post, "/v1/files") { Content = Form(Good, "good.jsonl"), Headers = { { "Origin", "http://elsewhere.example" } } };
        await RefusesAsync(403, null, "other origins", service.Client.SendAsync(foreign));
        Assert.Empty((await service.GetAsync("/v1/files"))["data"]!.AsArray());

        string first = await UploadAsync(service);
        Assert.Equal("good.jsonl", (string?)(await service.GetAsync($"/v1/files/{await UploadAsync(service, "../../good.jsonl")}"))["filename"]);
        await RefusesAsync(409, null, "2 files already", service.Client.PostAsync("/v1/files", Form(Good, "third.jsonl")));
        JsonObject page = await service.GetAsync("/v1/files?limit=1");
        Assert.True(page["has_more"]!.GetValue<bool>());
        Assert.Equal(first, (await service.GetAsync($"/v1/files?after={page["last_id"]}"))["data"]![0]!["id"]!.GetValue<string>());
        await RefusesAsync(404, "id", "no file", service.Client.GetAsync("/v1/files/file-x"));
    }

    [Fact]
    public async Task A_tuning_job_is_refused_by_field_and_is_the_same_job_in_both_shapes()
    {
        await using Service service = await Service.StartAsync("--files", "kept");
        string file = await UploadAsync(service);
        await RefusesTuningAsync(404, "model", request => request["model"] = "unheard-of");
        await RefusesTuningAsync(404, "model", request => request["model"] = "../outputs");
        await RefusesTuningAsync(400, "training_file", request => request["training_file"] = "file-x");
        await RefusesTuningAsync(400, "training_file", request => request.Remove("training_file"));
        await RefusesTuningAsync(400, "n_epochs", request => request["hyperparameters"] = new JsonObject { ["n_epochs"] = 0 });
        await RefusesTuningAsync(400, "batch_size", request => request["hyperparameters"] = new JsonObject { ["batch_size"] = 1.5 });
        await RefusesTuningAsync(400, "learning_rate_multiplier", request => request["hyperparameters"] = new JsonObject { ["learning_rate_multiplier"] = "much" });
        await RefusesTuningAsync(400, "beta", request => request["hyperparameters"] = new JsonObject { ["beta"] = 1 });
        await RefusesTuningAsync(400, "method.type", request => request["method"] = new JsonObject { ["type"] = "dpo" });
        await RefusesTuningAsync(400, "suffix", request => request["suffix"] = "a:b");
        await RefusesTuningAsync(400, "seed", request => request["seed"] = -1);
        await RefusesTuningAsync(400, "colour", request => request["colour"] = "red");

        var hyperparameters = new JsonObject { ["n_epochs"] = 1000, ["batch_size"] = 6, ["learning_rate_multiplier"] = "auto" };
        JsonObject job = await CreateAsync(request => (request["hyperparameters"], request["metadata"]) = (hyperparameters, new JsonObject { ["team"] = "red" }));
        string id = job["id"]!.GetValue<string>();
        Assert.Equal(("queued", 6, "red"), (job["status"]!.GetValue<string>(), job["hyperparameters"]!["batch_size"]!.GetValue<int>(), job["metadata"]!["team"]!.GetValue<string>()));
        await service.UntilStepAsync(id, 2);
        await RefusesAsync(409, "id", "used by a job", service.Client.DeleteAsync($"/v1/files/{file}"));
        Assert.Equal("paused", (await service.PostAsync($"/v1/fine_tuning/jobs/{id}/pause"))["status"]!.GetValue<string>());
        Assert.Equal("paused", (await service.ReadAsync(id))["status"]!.GetValue<string>());
        Assert.Equal("queued", (await service.PostAsync($"/v1/fine_tuning/jobs/{id}/resume"))["status"]!.GetValue<string>());
        Assert.Equal("cancelled", (await service.PostAsync($"/v1/fine_tuning/jobs/{id}/cancel"))["status"]!.GetValue<string>());
        await RefusesAsync(400, "status", "is cancelled", service.Client.PostAsync($"/v1/fine_tuning/jobs/{id}/cancel", null));
        await RefusesAsync(404, "fine_tuning_job_id", "no fine-tuning job", service.Client.GetAsync("/v1/fine_tuning/jobs/job-x"));
        await RefusesAsync(404, "model", "no model", service.Client.GetAsync($"/v1/models/ft:stories::{id}")); // It was not finished.
        using HttpResponseMessage deleted = await service.Client.DeleteAsync($"/v1/files/{file}");
        Assert.Equal(200, (int)deleted.StatusCode);

        string own = await service.CreateAsync(Service.Request("own"));
        Assert.Equal("train.jsonl", (await service.GetAsync($"/v1/fine_tuning/jobs/{own}"))["training_file"]!.GetValue<string>());

        async Task<JsonObject> CreateAsync(Action<JsonObject> change, int status = 200)
        {
            var request = new JsonObject { ["model"] = "stories", ["training_file"] = file };
            change(request);
            using HttpResponseMessage response = await service.Client.PostAsJsonAsync("/v1/fine_tuning/jobs", request);
            JsonObject body = await Service.BodyAsync(response);
            Assert.True((int)response.StatusCode == status, body.ToJsonString());
            return body;
        }

        async Task RefusesTuningAsync(int status, string field, Action<JsonObject> change) =>
            Assert.Equal(field, (await CreateAsync(change, status))["error"]!["param"]!.GetValue<string>().Split("hyperparameters.")[^1]);
    }

    /// <summary>The field and words of an error body.</summary>
    internal static async Task<JsonNode> RefusesAsync(int status, string? field, string words, Task<HttpResponseMessage> request)
    {
        using HttpResponseMessage response = await request;
        JsonObject body = await Service.BodyAsync(response);
        Assert.True((int)response.StatusCode == status, body.ToJsonString());
        Assert.Equal(field, (string?)body["error"]!["param"]);
        Assert.Contains(words, (string?)body["error"]!["message"], StringComparison.Ordinal);
        return body["error"]!;
    }

    private static async Task<string> UploadAsync(Service service, string name = "good.jsonl")
    {
        using HttpResponseMessage response = await service.Client.PostAsync("/v1/files", Form(Good, name));
        return (await Service.BodyAsync(response))["id"]!.GetValue<string>();
    }

    private static MultipartFormDataContent Form(string text, string name, string purpose = "fine-tune", string? more = null, Encoding? encoding = null)
    {
        var form = new MultipartFormDataContent { { new StringContent(text, encoding), "file", name }, { new StringContent(purpose), "purpose" } };
        if (more is not null)
        {
            form.Add(new StringContent("x"), more);
        }

        return form;
    }
}
