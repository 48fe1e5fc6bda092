using System.Text.Json.Nodes;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary><c>nibble data augment</c> against a server on this machine, and with a model of this engine.</summary>
[Collection("nibble")]
public class AugmentCommandTests : NibbleProgram
{
    private static readonly string[] Instructions = ["Say hi.", "Say bye.", "Count to three."];

    [Fact]
    public void Paraphrases_follow_their_originals_and_a_rerun_costs_nothing()
    {
        using var folder = new TempFolder();
        Write(folder["in.jsonl"]);
        using var server = new ChatServer(question => $"1. Please {question.Split('\n')[^1]}\n2. Now {question.Split('\n')[^1]}");
        server.ThenStatus(503);
        string[] command = ["data", "augment", folder["in.jsonl"], "--endpoint", server.Endpoint.ToString(), "--endpoint-model", "m", "--api-key-env", "TEST_KEY", "--cache", folder["cache"], "--input-price", "2", "--json"];
        Result first = Run([("TEST_KEY", "sk-very-secret")], [.. command, "--out", folder["a.jsonl"]]);
        Assert.Equal(0, first.Code);
        Assert.Equal("""{"written":9,"skipped":0,"requests":3,"cached":0,"input_tokens":30,"output_tokens":15,"cost":0.00006}""", first.Output.Trim());
        Assert.Equal("Bearer sk-very-secret", server.Authorization);
        Assert.Contains("again in 1 s: ", first.Error, StringComparison.Ordinal);
        Assert.DoesNotContain("secret", first.Output + first.Error, StringComparison.Ordinal);
        Assert.Equal(Instructions.SelectMany(text => new[] { text, $"Please {text}", $"Now {text}" }), File.ReadLines(folder["a.jsonl"]).Select(line => (string)JsonNode.Parse(line)!["instruction"]!));

        Result second = Run([("TEST_KEY", "sk-very-secret")], [.. command, "--out", folder["b.jsonl"]]);
        Assert.Equal(3, (int)JsonNode.Parse(second.Output)!["cached"]!);
        Assert.Equal(File.ReadAllText(folder["a.jsonl"]), File.ReadAllText(folder["b.jsonl"]));
        Assert.Equal(4, server.Requests.Count);
    }

    [Fact]
    public void A_refusal_ends_the_command_in_one_line_and_leaves_no_file()
    {
        using var folder = new TempFolder();
        Write(folder["in.jsonl"]);
        using var server = new ChatServer(_ => "x");
        server.ThenStatus(401).ThenStatus(401).ThenStatus(401);
        Result result = Nibble("data", "augment", folder["in.jsonl"], "--out", folder["a.jsonl"], "--endpoint", server.Endpoint.ToString(), "--endpoint-model", "m", "--concurrency", "1");
        Assert.Equal(1, result.Code);
        Assert.Contains("401", Assert.Single(result.Error.TrimEnd().Split('\n')), StringComparison.Ordinal);
        Assert.DoesNotContain(Directory.EnumerateFiles(folder.Path), file => Path.GetFileName(file) != "in.jsonl");
    }

    [Fact]
    public void Replies_that_cannot_be_used_are_bad_lines()
    {
        using var folder = new TempFolder();
        Write(folder["in.jsonl"]);
        using var server = new ChatServer(question => question.Contains("Say hi.", StringComparison.Ordinal) || question.Contains("cannot be used", StringComparison.Ordinal)
            ? "nothing" : "[{\"instruction\": \"Name a river of Austria.\", \"output\": \"The Danube.\"}]");
        string[] command = ["data", "augment", folder["in.jsonl"], "--out", folder["a.jsonl"], "--endpoint", server.Endpoint.ToString(), "--endpoint-model", "m", "--method", "variations", "--count", "1"];
        Result skipped = Nibble([.. command, "--on-error", "skip"]);
        Assert.Equal(0, skipped.Code);
        Assert.StartsWith("4 records written", skipped.Output, StringComparison.Ordinal);
        Assert.Contains("in.jsonl:1: The model's reply has no JSON list, also when asked to repair it.", skipped.Error, StringComparison.Ordinal);
        Assert.Contains("Name a river of Austria.", File.ReadAllText(folder["a.jsonl"]), StringComparison.Ordinal);
    }

    [Fact]
    public void A_model_of_this_engine_is_asked_as_an_endpoint_is()
    {
        using var folder = new TempFolder();
        Write(folder["in.jsonl"]);
        Directory.CreateDirectory(folder["model"]);
        foreach (string file in Directory.EnumerateFiles(SharedFolder.Path("models", "stories260K", "hf")))
        {
            File.Copy(file, Path.Combine(folder["model"], Path.GetFileName(file)));
        }

        string config = Path.Combine(folder["model"], "tokenizer_config.json");
        JsonNode tokenizer = JsonNode.Parse(File.ReadAllText(config))!;
        tokenizer["chat_template"] = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}";
        File.Delete(config);
        File.WriteAllText(config, tokenizer.ToJsonString());
        string[] command = ["data", "augment", folder["in.jsonl"], "--model", folder["model"], "--device", "cpu", "--json"];
        Result first = Nibble([.. command, "--out", folder["a.jsonl"], "--cache", folder["cache"]]);
        Assert.Equal(0, first.Code);
        JsonNode found = JsonNode.Parse(first.Output)!;
        Assert.Equal(3, (int)found["requests"]!);
        Assert.True((int)found["output_tokens"]! > 0 && (int)found["input_tokens"]! > 0 && (int)found["written"]! >= 3, first.Output);
        Assert.Equal(3, (int)JsonNode.Parse(Nibble([.. command, "--out", folder["b.jsonl"], "--cache", folder["cache"]]).Output)!["cached"]!);
    }

    [Theory]
    [InlineData("give --endpoint with --endpoint-model, or --model", "--endpoint", "http://127.0.0.1:1")]
    [InlineData("--endpoint is 'ftp://x'", "--endpoint", "ftp://x", "--endpoint-model", "m")]
    [InlineData("--count is 0", "--method", "variations", "--count", "0", "--model", "m")]
    [InlineData("Concurrency is 0", "--concurrency", "0", "--endpoint", "http://127.0.0.1:1", "--endpoint-model", "m")]
    public void Wrong_use_is_told_in_one_line(string reason, params string[] arguments)
    {
        using var folder = new TempFolder();
        Write(folder["in.jsonl"]);
        Result result = Nibble(["data", "augment", folder["in.jsonl"], "--out", folder["a.jsonl"], .. arguments]);
        Assert.Equal(2, result.Code);
        Assert.Contains(reason, Assert.Single(result.Error.TrimEnd().Split('\n')), StringComparison.Ordinal);
    }

    private static void Write(string path) =>
        File.WriteAllLines(path, Instructions.Select(text => $"{{\"instruction\":\"{text}\",\"output\":\"as it is said\"}}"));
}
