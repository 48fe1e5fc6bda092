using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Nibble.Modeling.Tokenizers;
using Nibble.Serving.Chat;
using Nibble.Tests;

namespace Nibble.Serving.Tests;

/// <summary>Chats: what they refuse, who waits, and what happens to their process.</summary>
[Collection("service")]
public class ChatTests
{
    [Fact]
    public async Task A_chat_that_cannot_be_answered_is_refused_by_field()
    {
        await using Service service = await Service.StartAsync("--memory", "100MiB");
        JsonNode error = await RefusesAsync(404, "model", request => request["model"] = "unheard-of");
        Assert.Equal("model_not_found", error["code"]!.GetValue<string>());
        await RefusesAsync(404, "model", request => request["model"] = "../data");
        await RefusesAsync(404, "model", request => request["model"] = new string('a', 5000));
        await RefusesAsync(404, "model", request => request["model"] = "ft:stories::job-x");
        await RefusesAsync(400, "tools", request => request["tools"] = new JsonArray(new JsonObject()));
        await RefusesAsync(400, "n", request => request["n"] = 2);
        await RefusesAsync(400, "temperature", request => request["temperature"] = 3);
        await RefusesAsync(400, "max_tokens", request => request["max_tokens"] = 0);
        await RefusesAsync(400, "stop", request => request["stop"] = new JsonArray(1));
        await RefusesAsync(400, "response_format", request => request["response_format"] = new JsonObject { ["type"] = "json_object" });
        await RefusesAsync(400, "messages", request => request["messages"] = new JsonArray());
        await RefusesAsync(400, "messages[0].role", request => request["messages"]![0]!["role"] = "tool");
        await RefusesAsync(400, "messages[0].content[0].type", request => request["messages"]![0]!["content"] = new JsonArray(new JsonObject { ["type"] = "image_url" }));
        await RefusesAsync(400, "logit_bias", request => request["logit_bias"] = new JsonObject { ["50"] = -100 });
        await RefusesAsync(400, "service_tier", request => request["service_tier"] = "flex");
        await RefusesAsync(503, null, request => // It has no place beside nothing.
        {
            request["tools"] = new JsonArray();
            request["logit_bias"] = new JsonObject();
            request["service_tier"] = "auto";
            request["metadata"] = new JsonObject { ["team"] = "blue" };
        });
        Assert.Empty(service.ChatWorkers);

        Task<JsonNode> RefusesAsync(int status, string? field, Action<JsonObject> change)
        {
            JsonObject request = Request();
            change(request);
            return OpenAiRequestTests.RefusesAsync(status, field, "", service.Client.PostAsJsonAsync("/v1/chat/completions", request));
        }
    }

    [Fact]
    public async Task Chats_wait_for_their_turn_end_with_their_client_and_survive_their_process()
    {
        await using Service service = await Service.StartAsync("--chat-queue", "1", "--chat-idle", "2");
        JsonNode one = await AnswerAsync(service, Request(tokens: 20, seed: 1));
        Assert.Equal("length", one["choices"]![0]!["finish_reason"]!.GetValue<string>());
        Assert.Equal(20, one["usage"]!["completion_tokens"]!.GetValue<int>());
        string text = Text(one);
        Assert.Equal(text, Text(await AnswerAsync(service, Request(tokens: 20, seed: 1))));
        Assert.NotEqual(text, Text(await AnswerAsync(service, Request(tokens: 20, seed: 2))));
        string stop = text[5..8];
        JsonObject stopped = Request(tokens: 20, seed: 1);
        stopped["stop"] = stop;
        JsonNode cut = await AnswerAsync(service, stopped);
        Assert.Equal((text[..text.IndexOf(stop, StringComparison.Ordinal)], "stop"), (Text(cut), cut["choices"]![0]!["finish_reason"]!.GetValue<string>()));
        JsonObject tooLong = Request();
        tooLong["messages"]![0]!["content"] = string.Concat(Enumerable.Repeat("Once upon a time. ", 200));
        Assert.Equal("context_length_exceeded", (string?)(await OpenAiRequestTests.RefusesAsync(400, "messages", "at most 512", service.Client.PostAsJsonAsync("/v1/chat/completions", tooLong)))["code"]);

        int worker = Assert.Single(service.ChatWorkers);
        Service.Pause(worker);
        using var gone = new CancellationTokenSource();
        Task<HttpResponseMessage> running = service.Client.PostAsJsonAsync("/v1/chat/completions", Request(), gone.Token);
        Task<JsonNode> waiting = AnswerAsync(service, Request(tokens: 1));
        await Task.Delay(500);
        await OpenAiRequestTests.RefusesAsync(429, null, "--chat-queue", service.Client.PostAsJsonAsync("/v1/chat/completions", Request()));
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
        await Task.Delay(500); // Until the service has seen it.
        TimeSpan before = ProcessorTime(worker);
        Service.GoOn(worker);
        Assert.Equal(1, (await waiting)["usage"]!["completion_tokens"]!.GetValue<int>());
        TimeSpan ended = ProcessorTime(worker) - before;
        await AnswerAsync(service, Request(seed: 3)); // As long as the one that was ended.
        TimeSpan whole = ProcessorTime(worker) - before - ended;
        Assert.True(ended < whole / 2, $"{ended} of {whole}");

        Service.Pause(worker);
        Task<JsonNode> killed = OpenAiRequestTests.RefusesAsync(500, null, "killed by signal 9", service.Client.PostAsJsonAsync("/v1/chat/completions", Request()));
        await Task.Delay(300);
        Service.Kill(worker);
        await killed;
        Assert.Equal(text, Text(await AnswerAsync(service, Request(tokens: 20, seed: 1))));
        Assert.NotEqual(worker, Assert.Single(service.ChatWorkers));
        var clock = Stopwatch.StartNew();
        while (service.ChatWorkers.Count > 0)
        {
            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(20), "the model stays in the memory");
            await Task.Delay(50);
        }

        Assert.Equal("ok", (await service.GetAsync("/health"))["status"]!.GetValue<string>());
    }

    [Fact]
    public void Streamed_text_has_whole_characters_and_nothing_of_a_stop_string()
    {
        var tokenizer = HfTokenizer.FromPretrained(SharedFolder.Path("models", "stories260K", "hf"));
        const string Text = "Once upon a time, 中文 and 😀 met. They were happy.";
        foreach ((string[] stops, string expected) in new (string[], string)[]
        {
            ([], Text), (["met."], "Once upon a time, 中文 and 😀 "), (["happy", "They we"], "Once upon a time, 中文 and 😀 met. "), (["happy!", "zzz"], Text),
        })
        {
            var parts = new List<string>();
            var answer = new AnswerText(tokenizer, stops, parts.Add);
            foreach (int token in tokenizer.Encode(Text, addSpecialTokens: false).TakeWhile(_ => !answer.IsStopped))
            {
                answer.Add(token);
            }

            answer.End();
            Assert.Equal(expected, string.Concat(parts).TrimStart());
            Assert.True(parts.Count > 5);
            Assert.DoesNotContain(parts, part => part.Contains('\uFFFD', StringComparison.Ordinal));
        }
    }

    private static TimeSpan ProcessorTime(int id)
    {
        using var process = Process.GetProcessById(id);
        return process.TotalProcessorTime;
    }

    private static JsonObject Request(int? tokens = null, int seed = 0) => new()
    {
        ["model"] = "stories",
        ["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = "Once upon a time" }),
        ["seed"] = seed,
        ["max_tokens"] = tokens,
    };

    private static string Text(JsonNode answer) => answer["choices"]![0]!["message"]!["content"]!.GetValue<string>();

    private static async Task<JsonNode> AnswerAsync(Service service, JsonObject request)
    {
        using HttpResponseMessage response = await service.Client.PostAsJsonAsync("/v1/chat/completions", request);
        JsonObject body = await Service.BodyAsync(response);
        Assert.True((int)response.StatusCode == 200, body.ToJsonString());
        return body;
    }
}
