using System.Text.Json.Nodes;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary><c>nibble data</c> as its users start it.</summary>
[Collection("nibble")]
public class DataCommandTests : NibbleProgram
{
    private const string Good = "{\"instruction\":\"Say hi.\",\"input\":\"\",\"output\":\"hi to you all\"}\n";

    [Fact]
    public void Validation_ends_with_one_if_there_are_errors_and_reports_in_three_forms()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["good.jsonl"], Good);
        File.WriteAllText(folder["bad.jsonl"], Good + "{\"instruction\":\"\",\"output\":\"\\u001B[31m {{name}} and more\"}\n{\n");
        Assert.Equal(0, Nibble("data", "validate", folder["good.jsonl"]).Code);
        Result table = Nibble("data", "validate", folder["bad.jsonl"], "--html", folder["report.html"]);
        Assert.Equal(1, table.Code);
        Assert.Contains("2 records, 2 errors, 2 warnings", table.Output, StringComparison.Ordinal);
        Assert.Contains("bad.jsonl:3 is not valid", table.Output, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001B', table.Output);
        Assert.Contains("<svg", File.ReadAllText(folder["report.html"]), StringComparison.Ordinal);

        JsonNode json = JsonNode.Parse(Nibble("data", "validate", folder["bad.jsonl"], "--json").Output)!;
        Assert.Equal(["empty_instruction", "broken_encoding", "unfilled_placeholder", "invalid_record"], json["issues"]!.AsArray().Select(issue => (string)issue!["code"]!));
        Assert.Equal(1, (int)json["counts"]!["empty_instruction"]!);
    }

    [Fact]
    public void Validation_finds_evaluation_data_that_is_trained_on()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["train.jsonl"], Good);
        Result result = Nibble("data", "validate", folder["train.jsonl"], "--eval", folder["train.jsonl"], "--json");
        Assert.Equal(1, result.Code);
        JsonNode issue = Assert.Single(JsonNode.Parse(result.Output)!["issues"]!.AsArray())!;
        Assert.Equal(("leakage", 1), ((string)issue["code"]!, (int)issue["duplicate_of"]!["line"]!));
    }

    [Fact]
    public void Validation_counts_a_models_tokens()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["a.jsonl"], Good + Good.Replace("hi.", $"{string.Join(' ', Enumerable.Repeat("once", 40))}.", StringComparison.Ordinal));
        Result result = Nibble("data", "validate", folder["a.jsonl"], "--model", SharedFolder.Path("models", "stories260K", "hf"), "--max-length", "80", "--json");
        JsonNode json = JsonNode.Parse(result.Output)!;
        Assert.Equal(["too_long"], json["counts"]!.AsObject().Select(item => item.Key));
        Assert.Equal((80, 2), ((int)json["max_length"]!, (int)json["issues"]![0]!["line"]!));
    }

    [Fact]
    public void A_table_is_mapped_converted_divided_and_counted()
    {
        using var folder = new TempFolder();
        File.WriteAllLines(folder["a.csv"], ["question,answer,kind", .. Enumerable.Range(0, 100).Select(i => $"\"what, {i}?\",that is {i},{i % 2}")]);
        string[] map = ["--map", "instruction=question", "--map", "output=answer"];
        Result format = Nibble(["data", "format", folder["a.csv"], "--to", "openai", "--out", folder["chat.jsonl.gz"], .. map, "--json"]);
        Assert.Equal("""{"written":100,"skipped":0}""", format.Output.Trim());

        Result split = Nibble("data", "split", folder["chat.jsonl.gz"], "--out", folder["parts"], "--method", "shuffle", "--json");
        Assert.Equal("""{"train":80,"val":10,"test":10,"skipped":0}""", split.Output.Trim());
        Result strata = Nibble(["data", "split", folder["a.csv"], "--out", folder["strata"], "--stratify-by", "kind", "--train", "0.5", "--val", "0.5", "--test", "0", .. map]);
        Assert.StartsWith($"train 50, val 50 in {folder["strata"]}", strata.Output, StringComparison.Ordinal);

        JsonNode stats = JsonNode.Parse(Nibble("data", "stats", Path.Combine(folder["parts"], "train.jsonl"), "--json").Output)!;
        Assert.Equal((80, 80, 3), ((int)stats["turns"]!["user"]!, (int)stats["forms"]!["chat"]!, (int)stats["answer_words"]!["p50"]!));
        Assert.Contains("words of an answer", Nibble("data", "stats", folder["chat.jsonl.gz"]).Output, StringComparison.Ordinal);
    }

    [Fact]
    public void Bad_lines_fail_by_default_and_are_skipped_and_counted_on_demand()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["a.jsonl"], Good + "{\"instruction\":1}\n" + Good);
        string[] format = ["data", "format", folder["a.jsonl"], "--to", "text", "--out", folder["b.jsonl"]];
        Result fails = Nibble(format);
        Assert.Equal((1, false), (fails.Code, File.Exists(folder["b.jsonl"])));
        Assert.Contains("a.jsonl:2: field 'instruction' is not a string.", fails.Error, StringComparison.Ordinal);

        Result skips = Nibble([.. format, "--on-error", "skip"]);
        Assert.Equal(0, skips.Code);
        Assert.Contains("2 records written", skips.Output, StringComparison.Ordinal);
        Assert.Contains("1 bad lines skipped", skips.Output, StringComparison.Ordinal);
        Assert.Contains("skipped ", skips.Error, StringComparison.Ordinal);

        Result divides = Nibble("data", "split", folder["a.jsonl"], "--out", folder["parts"]);
        Assert.Equal((1, false), (divides.Code, Directory.Exists(folder["parts"]) && Directory.EnumerateFiles(folder["parts"]).Any()));
    }

    [Fact]
    public void A_preview_shows_tokens_and_the_loss_mask()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["a.jsonl"], Good + Good);
        string[] preview = ["data", "preview", folder["a.jsonl"], "--model", SharedFolder.Path("models", "stories260K", "hf")];
        Result plain = Nibble([.. preview, "--count", "1"]);
        Assert.Contains("e|:|↵\n|[[h|i| to| you| a|ll|</s>]]", plain.Output, StringComparison.Ordinal);
        Assert.DoesNotContain('\u001B', plain.Output);

        Result colour = Nibble([.. preview, "--color", "always"]);
        Assert.Contains("\u001B[30;42m", colour.Output, StringComparison.Ordinal);
        Assert.Contains("line 2: ", colour.Output, StringComparison.Ordinal);

        JsonNode json = JsonNode.Parse(Nibble([.. preview, "--json", "--max-length", "40"]).Output)!;
        JsonNode first = json["examples"]![0]!;
        Assert.Equal(40, first["tokens"]!.AsArray().Count);
        Assert.True((int)first["length"]! > 40);
        Assert.Equal("h", (string)first["tokens"]!.AsArray().First(token => (bool)token!["learned"]!)!["text"]!);
    }

    [Theory]
    [InlineData("--map is 'x'", "stats", "FILE", "--map", "x")]
    [InlineData("each field once", "stats", "FILE", "--map", "text=a", "--map", "text=b")]
    [InlineData("--max-length needs --model", "validate", "FILE", "--max-length", "5")]
    [InlineData("--template needs --to completion", "format", "FILE", "--to", "chat", "--template", "x", "--out", "new.jsonl")]
    [InlineData("exists; choose another --out", "format", "FILE", "--to", "text", "--out", "FILE")]
    [InlineData("their sum must be 1", "split", "FILE", "--out", "new", "--train", "0.9")]
    [InlineData("'parquet'", "format", "FILE", "--to", "parquet", "--out", "new.jsonl")]
    [InlineData("--count is 0", "preview", "FILE", "--model", "m", "--count", "0")]
    public void Wrong_use_is_told_in_one_line(string reason, params string[] arguments)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["a.jsonl"], Good);
        Result result = Nibble(["data", .. arguments.Select(argument => argument switch { "FILE" => folder["a.jsonl"], "new" or "new.jsonl" => folder[argument], _ => argument })]);
        Assert.Equal(2, result.Code);
        Assert.Contains(reason, result.Error, StringComparison.Ordinal);
        Assert.Single(result.Error.TrimEnd().Split('\n'));
        Assert.Equal([folder["a.jsonl"]], Directory.EnumerateFileSystemEntries(folder.Path));
    }

    /// <summary>The runtime may have 48 MiB for objects, and the file has 100.</summary>
    [Fact]
    public void Files_larger_than_memory_are_validated_divided_and_converted()
    {
        using var folder = new TempFolder();
        const int Records = 100_000;
        using (var writer = new StreamWriter(folder["big.jsonl"]))
        {
            var random = new Random(1);
            for (int i = 0; i < Records; i++)
            {
                writer.WriteLine($"{{\"instruction\":\"Question {i} about {random.NextInt64()}\",\"output\":\"{string.Join(' ', Enumerable.Range(0, 100).Select(_ => random.Next(1_000_000_000)))}\"}}");
            }
        }

        Assert.InRange(new FileInfo(folder["big.jsonl"]).Length, 100 << 20, 200 << 20);
        Result Small(params string[] arguments) => Run([("DOTNET_GCHeapHardLimit", $"{48 << 20:X}")], arguments);
        Result validation = Small("data", "validate", folder["big.jsonl"], "--json");
        Assert.Equal((0, ""), (validation.Code, validation.Error));
        Assert.Equal(Records, (int)JsonNode.Parse(validation.Output)!["records"]!);
        Result split = Small("data", "split", folder["big.jsonl"], "--out", folder["parts"], "--json");
        Assert.Equal((0, ""), (split.Code, split.Error));
        Assert.Equal(Records, JsonNode.Parse(split.Output)!.AsObject().Sum(part => (int)part.Value!));
        Result format = Small("data", "format", folder["big.jsonl"], "--to", "chat", "--out", folder["chat.jsonl.gz"]);
        Assert.Equal((0, ""), (format.Code, format.Error));
    }
}
