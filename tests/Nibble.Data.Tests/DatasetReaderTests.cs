using Nibble.Tests;

namespace Nibble.Data.Tests;

public class DatasetReaderTests
{
    [Theory]
    [InlineData("alpaca/gsm8k_test_alpaca.json", DatasetFormat.Alpaca, 1319)]
    [InlineData("alpaca/identity.json", DatasetFormat.Alpaca, 91)]
    [InlineData("chat/fastchat_dummy_sharegpt.json", DatasetFormat.Chat, 500)]
    [InlineData("chat/oasst_en_100_openai_messages.jsonl", DatasetFormat.Chat, 100)]
    [InlineData("text/c4_demo.jsonl", DatasetFormat.Text, 300)]
    public void Real_files_are_detected_and_read_whole(string file, DatasetFormat format, int records)
    {
        string path = SharedFolder.Path(["data", .. file.Split('/')]);
        Assert.Equal(format, DatasetReader.Detect(path));
        Assert.Equal(records, DatasetReader.Read(path).Count());
    }

    [Theory]
    [InlineData("{\"instruction\": \"a\", \"output\": \"b\"}\n\n{\"instruction\": \"a\"}", ":3: field 'output' is missing")]
    [InlineData("{\"instruction\": \"a\", \"output\": 3}", ":1: field 'output' is not a string")]
    [InlineData("{\"a\": 1}", ":1: has the fields a")]
    [InlineData("{\"text\": \"a\"}\n{\"text\": ", ":2: is not valid JSON")]
    [InlineData("{\"messages\": []}", ":1: field 'messages' is empty")]
    [InlineData("{\"messages\": [{\"role\": \"robot\", \"content\": \"x\"}]}", "role 'robot'")]
    [InlineData("{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}", "no assistant turn")]
    [InlineData("{\"input_ids\": [1, 2], \"labels\": [1]}", "has 2 input_ids but 1 labels")]
    [InlineData("", "has no records")]
    [InlineData("\n\n", "has no records")]
    public void A_bad_record_is_named_by_file_line_and_reason(string content, string part)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["data.jsonl"], content);
        var exception = Assert.Throws<InvalidDataException>(() => DatasetReader.Read(folder["data.jsonl"]).ToList());
        Assert.Contains(part, exception.Message, StringComparison.Ordinal);
        Assert.Contains("data.jsonl", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_byte_order_mark_carriage_returns_and_blank_lines_do_no_harm()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["a.jsonl"], "\uFEFF{\"text\": \"one\"}\r\n\r\n{\"text\": \"two\"}\r\n");
        File.WriteAllText(folder["b.json"], "\uFEFF [ {\"text\": \"one\"},\n {\"text\": \"two\"} ]");
        Assert.All(["a.jsonl", "b.json"], name => Assert.Equal(
            [new TextExample("one"), new TextExample("two")], DatasetReader.Read(folder[name])));
    }

    [Fact]
    public void The_alpaca_prompt_is_the_one_people_know()
    {
        Assert.Equal(
            "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n3", new TrainingExample("Add.", "1 2", "3").ToAlpacaFormat());
        Assert.Equal("### Instruction:\nSay hi.\n\n### Response:\nhi", new TrainingExample("Say hi.", "", "hi").ToAlpacaFormat());
        Assert.Equal("Add.\n\n1 2", new TrainingExample("Add.", "1 2", "3").ToChatFormat().Messages[0]!["content"]!.ToString());
        Assert.Equal(new CompletionExample("Q: Add.", "3"), new TrainingExample("Add.", "", "3").ToCompletionFormat("Q: {instruction}"));
    }

    [Fact]
    public void Splitting_by_hash_keeps_old_examples_where_they_were()
    {
        string[] old = [.. Enumerable.Range(0, 1000).Select(i => $"example {i}")];
        bool[] sides = [.. old.Select(text => DatasetSplitter.IsEvaluation(text, 0.1, 42))];
        Assert.InRange(sides.Count(side => side), 70, 130);
        Assert.Equal(sides, old.Concat(["new"]).Take(1000).Select(text => DatasetSplitter.IsEvaluation(text, 0.1, 42)));
        Assert.NotEqual(sides, old.Select(text => DatasetSplitter.IsEvaluation(text, 0.1, 43)));
    }
}
