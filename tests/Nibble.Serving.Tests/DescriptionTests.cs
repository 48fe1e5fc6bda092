using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests;

/// <summary>What the service says of itself: its routes, its figures, its health.</summary>
[Collection("service")]
public class DescriptionTests
{
    [Fact]
    public async Task Every_route_is_described_and_the_page_needs_no_other_server()
    {
        await using Service service = await Service.StartAsync();
        await service.KeyAsync(Keys.KeyScope.Read);
        JsonObject document = await service.GetAsync("/openapi/v1.json"); // Also without a key.
        JsonObject paths = document["paths"]!.AsObject();
        Assert.Superset(
            new HashSet<string> { "/v1/jobs", "/v1/jobs/{id}", "/v1/jobs/{id}/pause", "/v1/jobs/{id}/resume", "/v1/jobs/{id}/events", "/v1/audit", "/health/ready" }, paths.Select(path => path.Key).ToHashSet());
        Assert.All(paths.SelectMany(path => path.Value!.AsObject().Select(method => (Name: $"{method.Key} {path.Key}", Route: method.Value!))), item =>
        {
            Assert.False(string.IsNullOrEmpty((string?)item.Route["summary"]), item.Name);
            Assert.True(char.IsUpper(((string?)Assert.Single(item.Route["tags"]!.AsArray()))![0]), item.Name);
            Assert.Contains(item.Route["responses"]!.AsObject(), response => response.Key is "200" or "201" && response.Value!["content"] is not null);
        });
        Assert.Equal("#/components/schemas/ChatRequest", (string?)paths["/v1/chat/completions"]!["post"]!["requestBody"]!["content"]!["application/json"]!["schema"]!["$ref"]);
        Assert.NotNull(paths["/v1/files"]!["post"]!["requestBody"]!["content"]!["multipart/form-data"]);
        Assert.Contains(paths["/v1/jobs"]!["post"]!["parameters"]!.AsArray(), parameter => (string?)parameter!["name"] == "Idempotency-Key");
        JsonNode request = document["components"]!["schemas"]!["JobRequest"]!;
        Assert.Equal(["model_name", "training_data_path", "output_dir"], request["required"]!.AsArray().Select(name => (string)name!));
        Assert.Equal(["null", "integer"], request["properties"]!["lora_r"]!["type"]!.AsArray().Select(name => (string)name!));
        Assert.Equal("bearer", (string)document["components"]!["securitySchemes"]!["key"]!["scheme"]!);

        using HttpResponseMessage page = await service.Client.GetAsync("/docs/");
        string policy = Assert.Single(page.Headers.GetValues("Content-Security-Policy"));
        Assert.DoesNotContain("http", policy, StringComparison.Ordinal);
        Assert.Contains("connect-src 'self'", policy, StringComparison.Ordinal);
        string text = await page.Content.ReadAsStringAsync();
        Assert.DoesNotContain("://", text, StringComparison.Ordinal);
        Assert.Contains("src=\"scalar.js\"", text, StringComparison.Ordinal);
        Assert.True((await service.Client.GetByteArrayAsync("/docs/scalar.js")).Length > 1_000_000);
    }

    [Fact]
    public async Task The_figures_are_those_of_the_jobs_and_the_machine()
    {
        await using Service service = await Service.StartAsync("--memory", "4GiB");
        string id = await service.CreateAsync(Service.Request("busy", 100_000));
        await service.CreateAsync(Service.Request("waits"));
        JsonObject job = await service.UntilAsync(id, item => item["metrics"]!["tokens_per_second"] is not null);
        Dictionary<string, double> figures = await FiguresAsync(service);
        Assert.Equal((1, 1, 0), (figures["nibble_jobs{status=\"running\"}"], figures["nibble_jobs{status=\"pending\"}"], figures["nibble_jobs{status=\"failed\"}"]));
        Assert.True(figures["nibble_tokens_per_second{}"] > 0);
        Assert.Equal(job["memory_bytes"]!.GetValue<long>(), figures["nibble_device_memory_reserved_bytes{device=\"cpu\"}"]);
        Assert.Equal(4L << 30, figures["nibble_device_memory_limit_bytes{device=\"cpu\"}"]);
        Assert.InRange(figures["nibble_host_memory_available_bytes{}"], 1e6, figures["nibble_host_memory_total_bytes{}"]);
        Assert.DoesNotContain("libtorch", File.ReadAllText($"/proc/{service.Id}/maps"), StringComparison.OrdinalIgnoreCase); // Only its workers compute.
        using HttpResponseMessage cancelled = await service.Client.DeleteAsync($"/v1/jobs/{id}");
        await Task.Delay(TimeSpan.FromSeconds(0.4)); // An answer is kept for a moment.
        Assert.Equal(1, (await FiguresAsync(service))["nibble_jobs{status=\"cancelled\"}"]);
    }

    [Fact]
    public async Task A_service_whose_outputs_cannot_be_written_is_not_ready_and_lives()
    {
        await using Service service = await Service.StartAsync();
        Assert.Empty(Directory.EnumerateFileSystemEntries(service["outputs"]));
        Directory.Delete(service["outputs"]);
        using HttpResponseMessage ready = await service.Client.GetAsync("/health/ready");
        Assert.Equal(503, (int)ready.StatusCode);
        Assert.DoesNotContain(service["outputs"], await ready.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        Assert.Equal("ok", (await service.GetAsync("/health/live"))["status"]!.GetValue<string>());
        Directory.CreateDirectory(service["outputs"]);
        Assert.Equal("ok", (await service.GetAsync("/health/ready"))["status"]!.GetValue<string>());
        Assert.Empty(Directory.EnumerateFileSystemEntries(service["outputs"]));
    }

    private static async Task<Dictionary<string, double>> FiguresAsync(Service service) => (await service.Client.GetStringAsync("/metrics"))
        .Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#').Select(line => line.Split(' '))
        .ToDictionary(parts => parts[0], parts => double.Parse(parts[1], System.Globalization.CultureInfo.InvariantCulture));
}
