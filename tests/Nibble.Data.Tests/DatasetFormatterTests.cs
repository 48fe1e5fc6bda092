using System.Text.Json.Nodes;
using Nibble.Tests;

namespace Nibble.Data.Tests;

public class DatasetFormatterTests
{
    private static readonly TrainingExample Example = new("Add.", "1 2", "3", "Be exact.");

    [Fact]
    public void The_alpaca_prompt_is_the_one_people_know()
    {
        Assert.Equal(
            "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n3", new TrainingExample("Add.", "1 2", "3").ToAlpacaFormat());
        Assert.Equal("### Instruction:\nSay hi.\n\n### Response:\nhi", new TrainingExample("Say hi.", "", "hi").ToAlpacaFormat());
        Assert.Equal("Add.\n\n1 2", new TrainingExample("Add.", "1 2", "3").ToChatFormat().Messages[0]!["content"]!.ToString());
    }

    [Fact]
    public void A_template_is_filled_in_one_go()
    {
        Assert.Equal(new CompletionExample("Q: Add.", "3"), new TrainingExample("Add.", "", "3").ToCompletionFormat("Q: {instruction}"));
        Assert.Equal(
            new CompletionExample("S [Explain {input}.] (x) {other}", "3"),
            new TrainingExample("Explain {input}.", "x", "3", "S").ToCompletionFormat("{system} [{instruction}] ({input}) {other}"));
    }

    [Theory]
    [InlineData(DatasetFormat.Auto, """{"instruction":"Add.","input":"1 2","output":"3","system":"Be exact."}""")]
    [InlineData(DatasetFormat.Alpaca, """{"instruction":"Add.","input":"1 2","output":"3","system":"Be exact."}""")]
    [InlineData(DatasetFormat.Chat, """{"messages":[{"role":"system","content":"Be exact."},{"role":"user","content":"Add.\n\n1 2"},{"role":"assistant","content":"3"}]}""")]
    [InlineData(DatasetFormat.Sharegpt, """{"conversations":[{"from":"system","value":"Be exact."},{"from":"human","value":"Add.\n\n1 2"},{"from":"gpt","value":"3"}]}""")]
    [InlineData(DatasetFormat.Completion, """{"prompt":"Be exact.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n","completion":"3"}""")]
    [InlineData(DatasetFormat.Text, """{"text":"Be exact.\n\n### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n3"}""")]
    public void An_example_is_written_in_every_format_and_read_back(DatasetFormat format, string expected)
    {
        JsonObject json = DatasetFormatter.Format(Example, format);
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(expected), json), json.ToJsonString());

        using var folder = new TempFolder();
        Assert.Equal(1, DatasetFormatter.SaveJsonl([Example], folder["a.jsonl.gz"], format));
        DatasetRecord read = Assert.Single(DatasetFormatter.LoadJsonl(folder["a.jsonl.gz"]));
        Assert.True(JsonNode.DeepEquals(json, DatasetFormatter.Format(read, format)));
    }

    [Fact]
    public void One_exchange_survives_the_way_through_chat_and_back()
    {
        DatasetRecord chat = Example.ToChatFormat();
        Assert.Equal("""{"instruction":"Add.\n\n1 2","input":"","output":"3","system":"Be exact."}""", DatasetFormatter.Format(chat, DatasetFormat.Alpaca).ToJsonString());
    }

    [Fact]
    public void Real_conversations_survive_the_way_through_sharegpt_and_back()
    {
        string path = SharedFolder.Path("data", "chat", "oasst_en_100_openai_messages.jsonl");
        using var folder = new TempFolder();
        Assert.Equal(100, DatasetFormatter.SaveJsonl(DatasetReader.Read(path), folder["a.jsonl"], DatasetFormat.Sharegpt));
        Assert.All(DatasetReader.Read(path).Zip(DatasetReader.Read(folder["a.jsonl"], DatasetFormat.Sharegpt)), pair =>
            Assert.True(JsonNode.DeepEquals(((ChatExample)pair.First).Messages, ((ChatExample)pair.Second).Messages)));
    }

    [Theory]
    [InlineData("""{"text": "a"}""", DatasetFormat.Alpaca, "is plain text, in which alpaca cannot tell question from answer")]
    [InlineData("""{"text": "a"}""", DatasetFormat.Tokenized, "is text, which only a tokenizer turns into tokens")]
    [InlineData("""{"input_ids": [1]}""", DatasetFormat.Chat, "is made of tokens, which chat cannot hold")]
    [InlineData("""{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}""", DatasetFormat.Text, "is a conversation, which only a model's chat template")]
    [InlineData("""{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]}""", DatasetFormat.Completion, "has 3 messages; completion holds one question")]
    [InlineData("""{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "tools": []}""", DatasetFormat.Alpaca, "has tools, which alpaca cannot hold")]
    public void What_a_format_cannot_hold_is_refused_and_no_file_is_left(string record, DatasetFormat format, string reason)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["in.jsonl"], record);
        var exception = Assert.Throws<FormatException>(() => DatasetFormatter.SaveJsonl(DatasetReader.Read(folder["in.jsonl"]), folder["out.jsonl"], format));
        Assert.Contains(reason, exception.Message, StringComparison.Ordinal);
        Assert.Equal([folder["in.jsonl"]], Directory.EnumerateFiles(folder.Path));
    }
}
