using System.Net;
using System.Net.Http.Json;
using System.Net.Sockets;
using System.Reflection;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Nibble.Serving.Jobs;
using Nibble.Serving.Keys;
using Nibble.Tests;

namespace Nibble.Serving.Tests;

/// <summary>What somebody may try who means harm, and what it comes to. Paths by links and dots are in <see cref="RequestTests"/>, scopes in <see cref="KeyTests"/>.</summary>
[Collection("service")]
public class AttackTests
{
    [Theory]
    [InlineData("\uFF0E\uFF0E/secret")] // Fullwidth dots.
    [InlineData("\u2025/secret")] // Two dots in one.
    [InlineData("\u2024\u2024/secret")]
    [InlineData("a\u2026")]
    [InlineData("a\uFF0Fb")] // Fullwidth slashes.
    [InlineData("a\uFF3Cb")]
    [InlineData("a\u2215b")] // Slashes of mathematics.
    [InlineData("a\u2044b")]
    [InlineData("a\u29F8b")]
    [InlineData("a\u202Elnosj")] // Turns the rest around.
    [InlineData("a\u200Bb")] // Has no width.
    [InlineData("\uFEFFa")]
    [InlineData("a\u2028b")]
    [InlineData("a\uE000b")]
    [InlineData("a\u0000")]
    [InlineData("a\u0085b")]
    public void A_path_of_letters_that_pass_for_others_is_refused(string path)
    {
        using var folder = new TempFolder();
        Assert.Throws<ArgumentException>(() => new PathRoot(folder.Path).Resolve(path));
    }

    [Theory]
    [InlineData("\u00FCber/\u8A13\u7DF4\uFF08\u4E00\uFF09.jsonl")]
    [InlineData("u\u0308ber.jsonl")]
    [InlineData("%2e%2e/x")] // A name like any other: nobody decodes it.
    public void A_path_in_any_language_is_taken_as_it_stands(string path)
    {
        using var folder = new TempFolder();
        Assert.Equal(folder[path], new PathRoot(folder.Path).Resolve(path));
    }

    [Fact]
    public async Task A_request_that_would_fetch_run_or_smuggle_something_is_refused()
    {
        await using Service service = await Service.StartAsync();
        foreach (string address in (string[])["http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]/", "https://models.example/x", "file:///etc/passwd", "//169.254.169.254/x"])
        {
            await RefusedAsync(service, request => request["model_name"] = address, "model_name");
            await RefusedAsync(service, request => request["training_data_path"] = address, "training_data_path");
            foreach (string key in (string[])["judge_endpoint", "training.judge_endpoint", "data.augment_endpoint", "endpoint"])
            {
                await RefusedAsync(service, request => request["config"] = new JsonObject { [key] = address }, $"config.{key}");
            }
        }

        Directory.CreateDirectory(service["models/pickled"]);
        File.Copy(service["models/stories/config.json"], service["models/pickled/config.json"]);
        Directory.CreateDirectory(service["outputs/pickled"]);
        foreach (string pickle in (string[])["models/pickled/pytorch_model.bin", "models/pickled/model.pt", "outputs/pickled/adapter_model.bin"])
        {
            File.WriteAllText(service[pickle], "cos\nsystem\n(S'touch /tmp/owned'\ntR.");
        }

        await RefusedAsync(service, request => request["model_name"] = "pickled", "model_name");
        await RefusedAsync(service, request => request["config"] = new JsonObject { ["lora.init_adapter"] = "pickled" }, "config.lora.init_adapter");
        await RefusedAsync(service, request => request["output_dir"] = "\uFF0E\uFF0E/x", "output_dir");
        await RefusedAsync(service, request => request["config"] = new JsonObject { ["__proto__"] = new JsonObject { ["admin"] = true } }, "config.__proto__.admin");
        await RefusedAsync(service, "{\"model_name\": \"stories\", \"model_name\": \"../secret\", \"training_data_path\": \"x\", \"output_dir\": \"x\"}", HttpStatusCode.UnprocessableEntity);
        await RefusedAsync(service, "{\"model_name\": \"\\ud800\", \"training_data_path\": \"train.jsonl\", \"output_dir\": \"x\"}", HttpStatusCode.UnprocessableEntity);
        await RefusedAsync(service, Nested(16), HttpStatusCode.BadRequest);
        await RefusedAsync(service, Nested(40_000), HttpStatusCode.BadRequest);
        foreach (string type in (string[])["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml"]) // The first three a page of another origin may send.
        {
            await RefusedAsync(service, Service.Request("x").ToJsonString(), HttpStatusCode.UnsupportedMediaType, type);
        }

        Assert.Empty((await service.GetAsync("/v1/jobs"))["data"]!.AsArray());
        Assert.False(service.HasWorker);
    }

    [Fact]
    public async Task A_message_that_two_readers_would_read_differently_is_refused()
    {
        await using Service service = await Service.StartAsync();
        const string Body = "Content-Type: application/json\r\n";
        foreach ((string message, int status) in new[]
        {
            ("GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
            ("GET /v1/jobs HTTP/1.1\r\n\r\n", 400),
            ("GET http://evil.example/v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
            ("GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-A : b\r\n\r\n", 400),
            ("GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-A: b\r\n folded\r\n\r\n", 400),
            ("GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-A: b\rX-B: c\r\n\r\n", 400),
            ($"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n{Body}Content-Length: 2\r\nContent-Length: 30\r\n\r\n{{}}", 400),
            ($"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n{Body}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
            ($"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n{Body}Transfer-Encoding: chunked\r\n\r\nZZ\r\n{{}}\r\n0\r\n\r\n", 400),
            ($"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n{Body}Content-Length: 10000000000\r\n\r\n{{", 413),
            ($"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-A: {new string('a', 40_000)}\r\n\r\n", 431),
            ($"GET /{new string('a', 10_000)} HTTP/1.1\r\nHost: localhost\r\n\r\n", 414),
        })
        {
            string answer = await TalkAsync(service, message);
            Assert.True(answer.StartsWith($"HTTP/1.1 {status} ", StringComparison.Ordinal), $"{message[..Math.Min(150, message.Length)]}\n{answer}");
        }

        // Where both lengths are given the chunks count, and nothing that follows is taken for a request.
        string both = await TalkAsync(service, $"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\n{Body}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\nGET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 4", both, StringComparison.Ordinal);
        Assert.Equal(1, both.Split("HTTP/1.1 ").Length - 1);
    }

    [Fact]
    public async Task No_key_is_taken_from_elsewhere_and_none_gets_more_than_its_scope_by_other_words()
    {
        await using Service service = await Service.StartAsync();
        string reader = (await service.KeyAsync(KeyScope.Read)).Text;
        string admin = (await service.KeyAsync(KeyScope.Admin)).Text;
        string other = reader[..^1] + (reader[^1] == 'A' ? 'B' : 'A');
        foreach (string query in (string[])["api_key", "key", "token", "access_token", "authorization"])
        {
            await Problem.IsAsync(await service.Client.GetAsync($"/v1/jobs?{query}={admin}"), HttpStatusCode.Unauthorized);
        }

        foreach (string header in (string[])
        [
            $"X-Api-Key: {admin}", $"Cookie: key={admin}", $"Authorization: Basic {admin}", $"Authorization: {admin}", $"Authorization: Bearer {other}", $"Authorization: Bearer {reader[..^1]}",
            $"Authorization: Bearer {reader} {reader}", "Authorization: Bearer", $"Authorization: Bearer {admin}\r\nAuthorization: Bearer {admin}", "Authorization: Bearer ' OR 1=1 --",
            $"Authorization: Bearer nibble_{new string('%', 16)}_x",
        ])
        {
            Assert.StartsWith("HTTP/1.1 401 ", await TalkAsync(service, $"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n\r\n"), StringComparison.Ordinal);
        }

        foreach (string path in (string[])["/V1/Jobs", "//v1/jobs", "/v1//jobs", "/health/../v1/jobs", "/v1/%6Aobs", "/health/live/../../v1/jobs", "/docs/../v1/jobs", "/docs/..%2fv1/jobs"])
        {
            string answer = await TalkAsync(service, $"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            Assert.True(answer.StartsWith("HTTP/1.1 401 ", StringComparison.Ordinal) || answer.StartsWith("HTTP/1.1 404 ", StringComparison.Ordinal), $"{path}\n{answer}");
        }

        foreach (string trick in (string[])["X-HTTP-Method-Override: GET", "X-Original-URL: /health", "X-Forwarded-For: 127.0.0.1", "X-Rewrite-URL: /health/live"])
        {
            string answer = await TalkAsync(service, $"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {reader}\r\n{trick}\r\nContent-Length: 0\r\n\r\n");
            Assert.StartsWith("HTTP/1.1 403 ", answer, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Secrets_are_in_no_answer_log_event_row_or_worker()
    {
        await using Service service = await Service.StartAsync();
        string key = (await service.KeyAsync(KeyScope.Train)).Text;
        string secret = key.Split('_', 3)[2];
        service.Client.DefaultRequestHeaders.Authorization = new("Bearer", key);
        var answers = new StringBuilder();
        foreach (JsonObject config in (JsonObject[])[new JsonObject { ["api_key"] = Service.Secret }, new JsonObject { ["training"] = new JsonObject { ["api_key"] = Service.Secret } }])
        {
            using HttpResponseMessage refused = await service.Client.PostAsJsonAsync("/v1/jobs", Service.Request("x", config: config));
            Assert.Equal(HttpStatusCode.UnprocessableEntity, refused.StatusCode);
            answers.Append(await refused.Content.ReadAsStringAsync());
        }

        string id = await service.CreateAsync(Service.Request("mine", 100_000));
        int worker = await service.WorkerAsync();
        await service.UntilStepAsync(id, 1);
        string environment = File.ReadAllText($"/proc/{worker}/environ");
        Assert.Contains("NIBBLE_HOME=", environment, StringComparison.Ordinal);
        answers.Append(environment).Append(File.ReadAllText($"/proc/{worker}/cmdline")).Append(await service.ReadAsync(id));
        using HttpResponseMessage cancelled = await service.Client.DeleteAsync($"/v1/jobs/{id}");
        answers.Append(await service.Client.GetStringAsync($"/v1/jobs/{id}/events"));
        await service.Client.GetAsync($"/v1/jobs/{secret}?key={secret}");
        await service.TerminateAsync();
        answers.Append(await service.WordsAsync());
        foreach (string file in Directory.EnumerateFiles(service["home"], "*", SearchOption.AllDirectories).Concat(Directory.EnumerateFiles(service["outputs"], "*", SearchOption.AllDirectories)))
        {
            answers.Append(Encoding.Latin1.GetString(File.ReadAllBytes(file)));
        }

        Assert.Contains(id, answers.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain(secret, answers.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain(Service.Secret, answers.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void Keys_are_compared_in_a_time_that_tells_nothing_of_them()
    {
        MethodInfo compare = typeof(KeyText).GetMethod(nameof(KeyText.Proves))!;
        byte[] code = compare.GetMethodBody()!.GetILAsByteArray()!;
        IEnumerable<MethodBase?> called = Enumerable.Range(0, code.Length - 4).Where(i => code[i] is 0x28 or 0x6F).Select(i => Resolve(compare.Module, BitConverter.ToInt32(code, i + 1)));
        Assert.Contains(called, method => method?.Name == nameof(CryptographicOperations.FixedTimeEquals));
        Assert.DoesNotContain(called, method => method?.DeclaringType == typeof(string));
        (string id, string text) = KeyText.New();
        var key = new ApiKey { Id = id, Name = "", Hash = KeyText.HashOf(text) };
        Assert.Equal(id, KeyText.IdOf(text));
        Assert.True(KeyText.Proves(text, key));
        Assert.False(KeyText.Proves(text + "x", key));
        Assert.False(KeyText.Proves("", null));
        key.Revoked = DateTimeOffset.UtcNow;
        Assert.False(KeyText.Proves(text, key));

        static MethodBase? Resolve(Module module, int token)
        {
            try
            {
                return module.ResolveMethod(token);
            }
            catch (ArgumentException)
            {
                return null; // The bytes were no call.
            }
        }
    }

    private static string Nested(int depth) => $"{{\"config\": {string.Concat(Enumerable.Repeat("{\"a\":", depth))}1{new string('}', depth)}}}";

    private static async Task RefusedAsync(Service service, Action<JsonObject> change, string field)
    {
        JsonObject request = Service.Request("new");
        change(request);
        using HttpResponseMessage response = await service.Client.PostAsJsonAsync("/v1/jobs", request);
        await Problem.IsAsync(response, HttpStatusCode.UnprocessableEntity, field);
    }

    private static async Task RefusedAsync(Service service, string body, HttpStatusCode status, string type = "application/json")
    {
        using HttpResponseMessage response = await service.Client.PostAsync("/v1/jobs", new StringContent(body, Encoding.UTF8, type));
        await Problem.IsAsync(response, status);
    }

    /// <summary>What comes back for bytes as they stand, until the service has nothing more to say.</summary>
    private static async Task<string> TalkAsync(Service service, string message)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(service.Client.BaseAddress!.Host, service.Client.BaseAddress.Port);
        await using NetworkStream stream = client.GetStream();
        await stream.WriteAsync(Encoding.Latin1.GetBytes(message));
        var answer = new StringBuilder();
        byte[] buffer = new byte[16 * 1024];
        using var patience = new CancellationTokenSource();
        try
        {
            while (await stream.ReadAsync(buffer, patience.Token) is > 0 and int count)
            {
                answer.Append(Encoding.Latin1.GetString(buffer, 0, count));
                patience.CancelAfter(TimeSpan.FromSeconds(0.3));
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or IOException)
        {
            // The connection stays open, or was closed before all was read.
        }

        return answer.ToString();
    }
}
