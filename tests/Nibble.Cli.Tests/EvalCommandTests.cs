using System.Text.Json.Nodes;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary><c>nibble eval</c> on a real trained model, on given answers, and on its own reports.</summary>
[Collection("nibble")]
public class EvalCommandTests : NibbleProgram
{
    private static string Model => SharedFolder.Path("models", "stories260K", "hf");

    private static string Gsm8k => SharedFolder.Path("data", "gsm8k", "test.jsonl");

    [Fact]
    public void Answers_and_figures_are_kept_and_an_interrupted_evaluation_goes_on_to_the_same()
    {
        using var folder = new TempFolder();
        Result whole = Evaluate(folder["whole"]);
        Assert.Equal(0, whole.Code);
        JsonNode[] results = [.. JsonNode.Parse(whole.Output)!["results"]!.AsArray().Select(item => item!)];
        Assert.Equal(["perplexity", "exact_match", "rougeL", "numeric"], results.Select(item => (string)item["metric"]!));
        Assert.All(results, item => Assert.Equal(20, (int)item["scored"]!));
        Assert.Equal(20, (int)results[1]["details"]!["unextracted"]!); // A teller of stories does no sums.
        string[] answers = File.ReadAllLines(Path.Combine(folder["whole"], "predictions.jsonl"));
        Assert.Equal(20, answers.Length);

        Evaluate(folder["halves"]);
        string kept = Path.Combine(folder["halves"], "predictions.jsonl");
        File.WriteAllText(kept, string.Join('\n', answers.Take(7)) + "\n" + answers[7][..30]); // As a killed process leaves it.
        Assert.Equal(2, Evaluate(folder["halves"]).Code);
        Assert.Equal(whole.Output, Evaluate(folder["halves"], "--resume").Output);
        Assert.Equal(answers.Order(), File.ReadLines(kept).Order());

        Result other = Evaluate(folder["halves"], "--resume", "--temperature", "1");
        Assert.Equal(2, other.Code);
        Assert.Contains("holds an evaluation of something else", other.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Given_answers_are_measured_alone_and_against_references_elsewhere()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["answers.jsonl"], "{\"id\": \"b\", \"prediction\": \"So it is #### 1,234\"}\n{\"id\": \"a\", \"prediction\": \"a dog\"}\n");
        File.WriteAllText(folder["references.jsonl"], "{\"id\": \"a\", \"answer\": \"the dog\"}\n{\"id\": \"b\", \"answer\": \"#### 1234\"}\n");
        string[] files = ["eval", "--predictions", folder["answers.jsonl"], "--references", folder["references.jsonl"]];

        Assert.Equal(0.5, Score(Nibble([.. files, "--metrics", "exact_match", "--normalize", "squad", "--json"])));
        Assert.Equal(0, Score(Nibble([.. files, "--metrics", "exact_match", "--json"])));
        Result named = Nibble([.. files, "--metrics", "rougey"]);
        Assert.Equal((2, "nibble: 'rougey' is not a metric; the nearest is 'rouge1'.\n"), (named.Code, named.Error));
        Result likelihood = Nibble([.. files, "--metrics", "perplexity"]);
        Assert.Equal((2, "nibble: perplexity needs a model; give --model and --data.\n"), (likelihood.Code, likelihood.Error));
        Result lone = Nibble("eval", "--predictions", folder["answers.jsonl"], "--metrics", "f1");
        Assert.Equal(1, lone.Code);
        Assert.Contains("answers.jsonl:1:", lone.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void An_adapter_is_compared_with_its_base_example_by_example()
    {
        using var folder = new TempFolder();
        string data = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl");
        Result train = Nibble(
            "train", "--set", $"model={Model}", "--set", $"data.train={data}", "--set", $"output_dir={folder["adapter"]}", "--set", "dtype=float32",
            "--set", "training.max_steps=10", "--set", "training.learning_rate=0.005");
        Assert.Equal(0, train.Code);

        string[] command = ["eval", "--model", Model, "--adapter", folder["adapter"], "--data", data, "--against-base", "--out", folder["out"]];
        Result text = Nibble(command);
        Assert.Equal(0, text.Code);
        Assert.Contains("better", text.Output, StringComparison.Ordinal);
        JsonNode comparison = JsonNode.Parse(Nibble("eval", "--compare", Path.Combine(folder["out"], "base"), folder["out"], "--json").Output)!["metrics"]![0]!;
        Assert.True((double)comparison["difference"]! < 0, "the adapter lowers the perplexity");
        Assert.True((double)comparison["p"]! < 0.05);
        Assert.True((int)comparison["wins"]! > (int)comparison["losses"]!);

        Nibble("eval", "--model", Model, "--data", data, "--limit", "5", "--out", folder["five"]);
        Result unlike = Nibble("eval", "--compare", folder["five"], folder["out"]);
        Assert.Equal(1, unlike.Code);
        Assert.Contains("are not the same examples", unlike.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Choices_are_made_by_likelihood()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["choices.jsonl"], "{\"question\": \"Where did Tom and his mom go to play?\", \"choices\": [\"park\", \"xqzzy\"], \"answer\": \"A\"}\n");
        Assert.Equal(1, Score(Nibble("eval", "--model", Model, "--data", folder["choices.jsonl"], "--metrics", "acc", "--json")));
        Result none = Nibble("eval", "--model", Model, "--data", Gsm8k, "--map", "prompt=question", "--map", "completion=answer", "--metrics", "acc", "--limit", "2");
        Assert.Equal((1, "nibble: acc: example 1 has 0 choices; multiple choice needs at least two."), (none.Code, none.Error.TrimEnd().Split('\n')[^1]));
    }

    [Fact]
    public void A_judge_marks_answers_and_a_reply_that_is_no_mark_leaves_them_unscored()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["answers.jsonl"], "{\"prompt\": \"Say hi.\", \"prediction\": \"hi\"}\n{\"prompt\": \"Say bye.\", \"prediction\": \"no\"}\n");
        using var server = new ChatServer(question => question.Contains("Say hi.", StringComparison.Ordinal) ? "Fine.\nScore: 4" : "I would rather not.");
        Result result = Nibble(
            "eval", "--predictions", folder["answers.jsonl"], "--reference-field", "prediction", "--metrics", "llm_judge", "--judge-endpoint", server.Endpoint.ToString(), "--judge-endpoint-model", "m", "--json");
        Assert.Equal(4, Score(result));
        Assert.Equal(1, (int)JsonNode.Parse(result.Output)!["results"]![0]!["details"]!["unscored"]!);
    }

    [Fact]
    public void A_judge_chooses_between_the_answers_of_two_evaluations_asked_in_both_orders()
    {
        using var folder = new TempFolder();
        foreach ((string name, string answer) in new[] { ("first", "no"), ("second", "hello there") })
        {
            File.WriteAllText(folder[$"{name}.jsonl"], $"{{\"index\": 0, \"prompt\": \"Greet.\", \"prediction\": \"{answer}\", \"references\": [\"hello\"]}}\n");
            Assert.Equal(0, Nibble("eval", "--predictions", folder[$"{name}.jsonl"], "--metrics", "f1", "--out", folder[name]).Code);
        }

        using var server = new ChatServer(question => question.IndexOf("hello there", StringComparison.Ordinal) < question.IndexOf("no\n", StringComparison.Ordinal) ? "Better: A" : "Better: B");
        Result result = Nibble(
            "eval", "--compare", folder["first"], folder["second"], "--judge-endpoint", server.Endpoint.ToString(), "--judge-endpoint-model", "m", "--json");
        Assert.True(result.Code == 0, result.Error);
        JsonNode verdict = JsonNode.Parse(result.Output)!["judge"]!;
        Assert.Equal((1, 1, 0), ((int)verdict["score"]!, (int)verdict["details"]!["wins"]!, (int)verdict["details"]!["inconsistent"]!));
        Assert.Equal(2, server.Requests.Count);
    }

    [Fact]
    public void Plain_text_has_a_perplexity_but_no_answers()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["story.txt"], "Once upon a time there was a little girl.\nShe had a red ball.\n");
        Result perplexity = Nibble("eval", "--model", Model, "--data", folder["story.txt"], "--json");
        Assert.InRange(Score(perplexity), 1, 60);
        Result answers = Nibble("eval", "--model", Model, "--data", folder["story.txt"], "--metrics", "rougeL");
        Assert.Equal(1, answers.Code);
        Assert.Contains("record 1 is plain text", answers.Error, StringComparison.Ordinal);
    }

    private static Result Evaluate(string output, params string[] more) => Nibble(
    [
        "eval", "--model", Model, "--data", Gsm8k, "--map", "prompt=question", "--map", "completion=answer", "--limit", "20",
        "--metrics", "perplexity,exact_match,rougeL,numeric", "--extract", "#### (.+)", "--max-new-tokens", "16", "--batch-size", "6", "--json", "--out", output, .. more,
    ]);

    private static double Score(Result result)
    {
        Assert.True(result.Code == 0, result.Error);
        return (double)JsonNode.Parse(result.Output)!["results"]![0]!["score"]!;
    }
}
