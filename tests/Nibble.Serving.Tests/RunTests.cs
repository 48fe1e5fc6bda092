using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests;

/// <summary>What the service tells of a run before there is one, and of what it has written.</summary>
[Collection("service")]
public class RunTests
{
    [Fact]
    public async Task A_preview_tells_what_a_job_would_need_and_learn_and_creates_none()
    {
        await using Service service = await Service.StartAsync();
        (HttpStatusCode status, JsonObject preview) = await PreviewAsync(service, Service.Request("tuned"));
        Assert.Equal(HttpStatusCode.OK, status);
        long needed = preview["memory_bytes"]!.GetValue<long>();
        Assert.Equal(needed, preview["memory"]!.AsArray().Sum(part => part!["bytes"]!.GetValue<long>()));
        JsonNode example = JsonNode.Parse(File.ReadLines(service["data/train.jsonl"]).First())!;
        JsonNode record = preview["records"]![0]!;
        Assert.Equal(example["input_ids"]!.AsArray().Count, record["tokens"]!.GetValue<int>());
        Assert.Equal(example["labels"]!.AsArray().Count(label => label!.GetValue<int>() >= 0), record["learned"]!.GetValue<int>());
        Assert.Equal([false, true], record["pieces"]!.AsArray().Select(piece => piece!["learned"]!.GetValue<bool>()));
        Assert.Empty((await service.GetAsync("/v1/jobs"))["data"]!.AsArray());
        string id = await service.CreateAsync(Service.Request("tuned"));
        Assert.Equal(needed, (await service.ReadAsync(id))["memory_bytes"]!.GetValue<long>());
    }

    [Fact]
    public async Task A_preview_names_the_field_that_a_job_would_fail_for_and_no_folder_of_the_service()
    {
        await using Service service = await Service.StartAsync("--memory", "100MiB");
        File.WriteAllText(service["data/bad.jsonl"], """{"prompt": 3}""");
        JsonObject request = Service.Request("tuned");
        Assert.Equal("config", await FieldAsync(service, request)); // It needs more memory.
        await using Service roomy = await Service.StartAsync();
        File.Copy(service["data/bad.jsonl"], roomy["data/bad.jsonl"]);
        request["training_data_path"] = "bad.jsonl";
        (HttpStatusCode status, JsonObject refusal) = await PreviewAsync(roomy, request);
        Assert.Equal(HttpStatusCode.UnprocessableEntity, status);
        Assert.StartsWith("bad.jsonl:1", refusal["errors"]!["training_data_path"]![0]!.GetValue<string>(), StringComparison.Ordinal);
        request["lora_r"] = 0;
        Assert.Equal("lora_r", await FieldAsync(roomy, request));
        Directory.CreateDirectory(roomy["outputs/tuned"]);
        File.WriteAllText(roomy["outputs/tuned/run.json"], "{}");
        Assert.Equal("output_dir", await FieldAsync(roomy, Service.Request("tuned")));
    }

    [Fact]
    public async Task All_figures_samples_and_the_configuration_of_a_run_can_be_read_with_paths_as_they_were_asked_for()
    {
        await using Service service = await Service.StartAsync();
        File.Copy(service["data/train.jsonl"], service["data/held-out.jsonl"]);
        string id = await service.CreateAsync(Service.Request("tuned", config: new() { ["data.eval"] = "held-out.jsonl", ["training.report_samples"] = 2 }));
        await service.UntilAsync(id, "completed");
        JsonObject figures = await service.GetAsync($"/v1/jobs/{id}/metrics");
        Assert.Equal(service.Losses("tuned"), figures["steps"]!.AsArray().Select(step => step!["loss"]!.GetValue<double>()));
        Assert.NotEmpty(figures["evaluations"]!.AsArray());
        JsonObject config = await service.GetAsync($"/v1/jobs/{id}/config");
        Assert.Equal(
            ("stories", "train.jsonl", "held-out.jsonl", "tuned"),
            (config["model"]!.GetValue<string>(), config["data"]!["train"]!.GetValue<string>(), config["data"]!["eval"]!.GetValue<string>(), config["output_dir"]!.GetValue<string>()));
        Assert.DoesNotContain(service["data"], config.ToJsonString(), StringComparison.Ordinal);
        JsonArray samples = (await service.GetAsync($"/v1/jobs/{id}/samples"))["samples"]!.AsArray();
        Assert.Equal(2, samples.Count);
        Assert.All(samples, sample => Assert.NotNull(sample!["after"]));
        foreach (string part in (string[])["metrics", "config", "samples"])
        {
            using HttpResponseMessage absent = await service.Client.GetAsync($"/v1/jobs/job-0/{part}");
            Assert.Equal(HttpStatusCode.NotFound, absent.StatusCode);
        }
    }

    private static async Task<string> FieldAsync(Service service, JsonObject request)
    {
        (HttpStatusCode status, JsonObject refusal) = await PreviewAsync(service, request);
        Assert.NotEqual(HttpStatusCode.OK, status);
        return Assert.Single(refusal["errors"]!.AsObject()).Key;
    }

    private static async Task<(HttpStatusCode Status, JsonObject Body)> PreviewAsync(Service service, JsonObject request)
    {
        using HttpResponseMessage response = await service.Client.PostAsJsonAsync("/v1/jobs/preview", request);
        return (response.StatusCode, await Service.BodyAsync(response));
    }
}
