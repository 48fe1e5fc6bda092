using System.ClientModel;
using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Data.Augmentation;
using Nibble.Evaluation.Judging;
using Nibble.Tests;

namespace Nibble.Evaluation.Tests.Judging;

/// <summary>Against a real server, with its faults.</summary>
public class JudgeTests
{
    private static readonly ResilienceOptions Quick = new()
    {
        Backoff = TimeSpan.FromMilliseconds(5),
        Timeout = TimeSpan.FromSeconds(20),
        IsTransient = exception => exception is HttpRequestException or IOException or JsonException or ClientResultException { Status: 0 or 408 or 429 or >= 500 },
    };

    [Theory]
    [InlineData("It is right.\nScore: 4", 4)]
    [InlineData("It is right.\n\n**Score: 4/5**\n", 4)]
    [InlineData("The answer has 2 lacks.\nFinal score: 3 out of 5.", 3)]
    [InlineData("SCORE = 1", 1)]
    [InlineData("5", 5)]
    [InlineData("Score: 6", null)]
    [InlineData("Score: 0", null)]
    [InlineData("Score: -4", null)]
    [InlineData("Score: 4.5", null)]
    [InlineData("Score: 4/10", null)]
    [InlineData("Score: 14", null)]
    [InlineData("Score: 3-4", null)]
    [InlineData("Score: four", null)]
    [InlineData("Score: 4\nBut I may be wrong.", null)]
    [InlineData("I cannot judge this.", null)]
    [InlineData("The sum is\n4", null)]
    [InlineData("", null)]
    public async Task A_reply_that_is_no_mark_leaves_its_example_unscored(string reply, int? mark)
    {
        using var server = new ChatServer(question => question.Contains("always good", StringComparison.Ordinal) ? "Score: 2" : reply);
        EvaluationResult result = await new LlmJudgeEvaluator(server.Client()).EvaluateAsync([Example("always good"), Example("an answer")]);
        Assert.Equal([2, mark], result.Values);
        Assert.Equal(mark is null ? 2 : (2 + mark.Value) / 2.0, result.Score);
        Assert.Equal((mark is null ? 1 : 2, mark is null ? 1 : 0), (result.Details["scored"], result.Details["unscored"]));
    }

    [Fact]
    public async Task The_judge_sees_request_answer_and_references_and_is_asked_at_temperature_zero()
    {
        using var server = new ChatServer(_ => "Score: 5");
        await new LlmJudgeEvaluator(server.Client(), "5: rhymes").EvaluateAsync([new EvaluationExample("the-request", ["first-reference", "second-reference"], "the-answer")]);
        JsonNode request = JsonNode.Parse(Assert.Single(server.Requests))!;
        Assert.Equal(0, (double)request["temperature"]!);
        string asked = request["messages"]!.ToJsonString();
        Assert.All(["the-request", "first-reference", "second-reference", "the-answer", "5: rhymes", "Score: 4"], part => Assert.Contains(part, asked, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Faults_that_pass_are_outlasted_and_values_stay_in_order()
    {
        using var folder = new TempFolder();
        using var server = new ChatServer(question => $"Score: {question[question.IndexOf("answer number ", StringComparison.Ordinal) + 14]}") { Delay = TimeSpan.FromMilliseconds(20) };
        server.ThenStatus(429).ThenCut().ThenStatus(500);
        EvaluationExample[] examples = [.. Enumerable.Range(0, 20).Select(i => Example($"answer number {1 + (i % 5)} of {i}"))];
        using var client = new ResilientChatClient(server.Client(), Quick with { CacheFolder = folder["cache"], Concurrency = 8 });
        EvaluationResult result = await new LlmJudgeEvaluator(client, concurrency: 3).EvaluateAsync(examples);
        Assert.Equal(examples.Select((_, i) => (double?)(1 + (i % 5))), result.Values);
        Assert.Equal(3, result.Score);
        Assert.Equal(23, server.Requests.Count);
        Assert.InRange(server.MostAtOnce, 2, 3);

        // A rerun is answered from disk.
        Assert.Equal(result.Values, (await new LlmJudgeEvaluator(client).EvaluateAsync(examples)).Values);
        Assert.Equal(23, server.Requests.Count);
    }

    [Fact]
    public async Task A_refusal_ends_the_evaluation_and_so_does_a_judge_that_never_gives_a_mark()
    {
        using var server = new ChatServer(_ => "no idea");
        server.ThenStatus(401);
        var judge = new LlmJudgeEvaluator(server.Client(), concurrency: 1);
        Assert.Equal(401, (await Assert.ThrowsAsync<ClientResultException>(() => judge.EvaluateAsync([Example("a"), Example("b")]))).Status);
        Assert.Single(server.Requests);
        Assert.Contains("None of 2 examples", (await Assert.ThrowsAsync<InvalidDataException>(() => judge.EvaluateAsync([Example("a"), Example("b")]))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_choice_counts_only_where_it_does_not_depend_on_the_order()
    {
        using var server = new ChatServer(question =>
        {
            int a = question.IndexOf("<answer_a>", StringComparison.Ordinal);
            string first = question[(a + 11)..].Split('\n')[0];
            return (question.Split("<request>\n")[1].Split('\n')[0], first) switch
            {
                ("best wins", "good") => "Because.\nBetter: A",
                ("best wins", _) => "Because.\n**Better: B**",
                ("worst wins", "bad") => "Better: answer A.",
                ("worst wins", _) => "B",
                ("first wins", _) => "Better: A",
                ("equal", _) => "Better: tie",
                ("half", "good") => "Better: tie",
                ("half", _) => "Better: B",
                ("refused", "good") => "Better: A",
                _ => "Better: neither of them, I refuse",
            };
        });
        string[] prompts = ["best wins", "worst wins", "first wins", "equal", "half", "refused"];
        EvaluationResult result = await new PairwiseJudge(server.Client()).CompareAsync(
            [.. prompts.Select(prompt => new EvaluationExample(prompt, [], "good"))], [.. prompts.Select(prompt => new EvaluationExample(prompt, [], "bad"))]);
        Assert.Equal([1, 0, 0.5, 0.5, 0.5, null], result.Values);
        Assert.Equal(0.5, result.Score);
        Assert.Equal((1, 1, 3), (result.Details["wins"], result.Details["losses"], result.Details["ties"]));
        Assert.Equal((2, 1), (result.Details["inconsistent"], result.Details["unscored"]));
        Assert.Equal(12, server.Requests.Count);
    }

    [Fact]
    public async Task Answers_to_other_prompts_are_not_compared()
    {
        using var server = new ChatServer(_ => "A");
        var judge = new PairwiseJudge(server.Client());
        await Assert.ThrowsAsync<InvalidDataException>(() => judge.CompareAsync([Example("a")], [Example("a"), Example("b")]));
        await Assert.ThrowsAsync<InvalidDataException>(() => judge.CompareAsync([Example("a")], [Example("a") with { Prompt = "other" }]));
        Assert.Empty(server.Requests);
    }

    private static EvaluationExample Example(string prediction) => new("Say something.", [], prediction);
}
