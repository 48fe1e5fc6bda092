using System.ClientModel;
using System.Diagnostics;
using System.Text.Json;
using Nibble.Data.Augmentation;
using Nibble.Tests;

namespace Nibble.Data.Tests;

/// <summary>Against a real server, with its faults.</summary>
public class DataAugmenterTests
{
    private static readonly TrainingExample Example = new("Say where the capital of France lies, in one sentence.", "", "Paris lies on the Seine.", "Be brief.");

    private static readonly ResilienceOptions Quick = new()
    {
        Backoff = TimeSpan.FromMilliseconds(5),
        Timeout = TimeSpan.FromMilliseconds(500),
        IsTransient = exception => exception is HttpRequestException or IOException or JsonException or ClientResultException { Status: 0 or 408 or 429 or >= 500 },
    };

    [Theory]
    [InlineData("1. Where is Paris?\n2) Tell where Paris lies.\n(3) In which place is Paris?")]
    [InlineData("Here are three paraphrases:\n\n1. \"Where is Paris?\"\n2. Tell where Paris lies.\n3. In which place is Paris?\n4. A fourth one.")]
    [InlineData("- Where is Paris?\n- where is paris?\n- Tell where Paris lies.\n- Say where the capital of France lies, in one sentence.\n- In which place is Paris?")]
    [InlineData("Where is Paris?\nTell where Paris lies.\nIn which place is Paris?")]
    public async Task Paraphrases_lose_their_numbering_and_repetitions(string reply)
    {
        using var server = new ChatServer(_ => reply);
        IReadOnlyList<TrainingExample> made = await new DataAugmenter(server.Client()).ParaphraseAsync(Example);
        Assert.Equal(["Where is Paris?", "Tell where Paris lies.", "In which place is Paris?"], made.Select(example => example.Instruction));
        Assert.All(made, example => Assert.Equal(Example, example with { Instruction = Example.Instruction }));
        Assert.Equal("Bearer secret-key", server.Authorization);
    }

    [Fact]
    public async Task Variations_are_parsed_out_of_talk_and_copies_are_dropped()
    {
        using var server = new ChatServer(_ => """
            Sure!
            ```json
            [{"instruction": "Name the river of Vienna.", "input": "", "output": "The Danube."},
             {"instruction": "name the river of Vienna.", "input": "", "output": "Danube."},
             {"instruction": "Say where the capital of France lies in one sentence!", "input": "", "output": "On the Seine."},
             {"instruction": "Add the numbers.", "input": "1 2", "output": "3"}, {"instruction": "Add the numbers.", "input": "2 2", "output": "4"}]
            ```
            """);
        IReadOnlyList<TrainingExample> made = await new DataAugmenter(server.Client()).GenerateVariationsAsync(Example, 5);
        Assert.Equal(["Name the river of Vienna.", "Add the numbers.", "Add the numbers."], made.Select(example => example.Instruction));
        Assert.All(made, example => Assert.Equal("Be brief.", example.System));
        Assert.Equal(2, (await new DataAugmenter(server.Client()).GenerateVariationsAsync(Example, 2)).Count);
    }

    [Theory]
    [InlineData("no list at all", "has no JSON list")]
    [InlineData("[{\"instruction\": \"a\",]", "is not valid JSON")]
    [InlineData("[{\"instruction\": \"a\", \"output\": 3}]", "has an item that field 'output' is not a string")]
    [InlineData("[{\"instruction\": \"a\", \"output\": \" \"}]", "has an item that has an empty instruction or output")]
    [InlineData("[1]", "has an item that is not a JSON object")]
    public async Task A_reply_that_cannot_be_used_is_repaired_once(string bad, string problem)
    {
        using var server = new ChatServer(_ => bad);
        server.ThenSay(bad).ThenSay("[{\"instruction\": \"Name a river.\", \"output\": \"Danube\"}]");
        var augmenter = new DataAugmenter(server.Client());
        Assert.Equal("Name a river.", Assert.Single(await augmenter.GenerateVariationsAsync(Example, 1)).Instruction);
        Assert.Contains(JsonEncodedText.Encode(problem).ToString()[..10], server.Requests.Last(), StringComparison.Ordinal);

        var exception = await Assert.ThrowsAsync<InvalidDataException>(() => augmenter.GenerateVariationsAsync(Example, 1));
        Assert.Contains(problem, exception.Message, StringComparison.Ordinal);
        Assert.Equal(4, server.Requests.Count);
    }

    [Fact]
    public async Task Faults_that_pass_are_outlasted()
    {
        using var server = new ChatServer(_ => "1. Where is Paris?");
        server.ThenStatus(429).ThenStatus(500).ThenCut().ThenHang().Then(response =>
        {
            response.ContentType = "application/json";
            response.Close("{\"choices\": ["u8.ToArray(), willBlock: true);
        });
        List<double> waits = [];
        using var client = new ResilientChatClient(server.Client(), Quick with { OnRetry = (_, wait) => waits.Add(wait.TotalMilliseconds) });
        Assert.Single(await new DataAugmenter(client).ParaphraseAsync(Example));
        Assert.Equal(6, server.Requests.Count);
        Assert.Equal([5, 10, 20, 40, 80], waits);
        Assert.Equal(new ChatSpending(1, 0, 10, 5), client.Spending);
        Assert.Equal(0.000035m, client.Spending.Cost(1, 5));
    }

    [Fact]
    public async Task Faults_that_stay_end_the_work_and_refusals_at_once()
    {
        using var server = new ChatServer(_ => "x");
        using var client = new ResilientChatClient(server.Client(), Quick with { Retries = 2 });
        server.ThenStatus(500).ThenStatus(500).ThenStatus(500);
        Assert.Equal(500, (await Assert.ThrowsAsync<ClientResultException>(() => new DataAugmenter(client).ParaphraseAsync(Example))).Status);
        Assert.Equal(3, server.Requests.Count);
        server.ThenStatus(401);
        Assert.Equal(401, (await Assert.ThrowsAsync<ClientResultException>(() => new DataAugmenter(client).ParaphraseAsync(Example))).Status);
        Assert.Equal(4, server.Requests.Count);
        server.ThenHang().ThenHang().ThenHang();
        Assert.Contains("within 0.5 seconds, 3 times", (await Assert.ThrowsAsync<TimeoutException>(() => new DataAugmenter(client).ParaphraseAsync(Example))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_rerun_costs_nothing_and_an_interrupted_one_goes_on()
    {
        using var folder = new TempFolder();
        using var server = new ChatServer(question => $"1. About {question.Length} and {question[^1]}");
        TrainingExample[] examples = [.. Enumerable.Range(0, 6).Select(i => Example with { Instruction = $"Question {i}" })];
        ResilienceOptions options = Quick with { CacheFolder = folder["cache"] };

        async Task<(List<string> Made, ChatSpending Spending)> RunAsync(int count)
        {
            using var client = new ResilientChatClient(server.Client(), options);
            var augmenter = new DataAugmenter(client);
            List<string> made = [];
            foreach (TrainingExample example in examples.Take(count))
            {
                made.AddRange((await augmenter.ParaphraseAsync(example)).Select(item => item.Instruction));
            }

            return (made, client.Spending);
        }

        Assert.Equal(2, (await RunAsync(2)).Spending.Requests);
        (List<string> whole, ChatSpending spending) = await RunAsync(6);
        Assert.Equal((4, 2), (spending.Requests, spending.Cached));
        File.WriteAllText(Directory.EnumerateFiles(folder["cache"]).First(), "{\"Text\": ");
        (List<string> again, spending) = await RunAsync(6);
        Assert.Equal(whole, again);
        Assert.Equal((1, 5), (spending.Requests, spending.Cached));
        Assert.DoesNotContain("secret-key", string.Concat(Directory.EnumerateFiles(folder["cache"]).Select(File.ReadAllText)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task No_more_requests_run_at_once_than_allowed()
    {
        using var server = new ChatServer(_ => "1. Where is Paris?") { Delay = TimeSpan.FromMilliseconds(30) };
        using var client = new ResilientChatClient(server.Client(), Quick with { Concurrency = 3, Timeout = TimeSpan.FromSeconds(20) });
        var augmenter = new DataAugmenter(client);
        await Task.WhenAll(Enumerable.Range(0, 20).Select(i => augmenter.ParaphraseAsync(Example with { Instruction = $"Question {i}" })));
        Assert.InRange(server.MostAtOnce, 2, 3);
    }

    [Fact]
    public async Task Interruption_ends_waiting_at_once()
    {
        using var server = new ChatServer(_ => "x");
        server.ThenStatus(500);
        using var client = new ResilientChatClient(server.Client(), Quick with { Backoff = TimeSpan.FromMinutes(5) });
        using var interruption = new CancellationTokenSource(TimeSpan.FromMilliseconds(300));
        var watch = Stopwatch.StartNew();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => new DataAugmenter(client).ParaphraseAsync(Example, interruption.Token));
        Assert.InRange(watch.Elapsed.TotalSeconds, 0, 30);
    }
}
