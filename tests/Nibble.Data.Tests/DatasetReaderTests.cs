using Nibble.Tests;

namespace Nibble.Data.Tests;

public class DatasetReaderTests
{
    [Theory]
    [InlineData("alpaca/gsm8k_test_alpaca.json", DatasetFormat.Alpaca, 1319)]
    [InlineData("alpaca/identity.json", DatasetFormat.Alpaca, 91)]
    [InlineData("chat/fastchat_dummy_sharegpt.json", DatasetFormat.Chat, 500)]
    [InlineData("chat/oasst_en_100_openai_messages.jsonl", DatasetFormat.Chat, 100)]
    [InlineData("chat/glaive_toolcall_en_demo_sharegpt.json", DatasetFormat.Chat, 300)]
    [InlineData("text/c4_demo.jsonl", DatasetFormat.Text, 300)]
    [InlineData("text/tinystories_train_sample.txt", DatasetFormat.Text, 2317)]
    [InlineData("text/tinyshakespeare.txt", DatasetFormat.Text, 32777)]
    [InlineData("text/e2e_nlg_test.txt", DatasetFormat.Text, 4693)]
    [InlineData("masks/axolotl_conversation.json", DatasetFormat.Chat, 1)]
    [InlineData("masks/axolotl_conversation.tokenized.json", DatasetFormat.Tokenized, 1)]
    public void Real_files_are_detected_and_read_whole(string file, DatasetFormat format, int records)
    {
        string path = SharedFolder.Path(["data", .. file.Split('/')]);
        Assert.Equal(format, DatasetReader.Detect(path));
        Assert.Equal(records, DatasetReader.Read(path).Count());
    }

    [Theory]
    [InlineData("alpaca/gpteacher_roleplay.json", 1923, "output=response")]
    [InlineData("alpaca/self_instruct_seed_tasks.jsonl", 175, "input=instances.0.input", "output=instances.0.output")]
    [InlineData("gsm8k/train.jsonl", 7473, "prompt=question", "completion=answer")]
    [InlineData("gsm8k/test.jsonl", 1319, "instruction=question", "output=answer")]
    [InlineData("messy/TruthfulQA.csv", 817, "completion=answer")]
    [InlineData("messy/boolq_validation.csv", 3270, "instruction=question", "input=passage", "output=answer")]
    [InlineData("humaneval/HumanEval.jsonl.gz", 164, "completion=canonical_solution")]
    [InlineData("bbh/date_understanding.json", 250, "prompt=input", "completion=target")]
    [InlineData("bbh/word_sorting.json", 250, "prompt=input", "completion=target")]
    [InlineData("eval/mt_bench_question.jsonl", 80, "text=turns.0")]
    public void Real_files_with_other_columns_are_read_whole_when_mapped(string file, int records, params string[] map)
    {
        string path = SharedFolder.Path(["data", .. file.Split('/')]);
        Assert.Throws<InvalidDataException>(() => DatasetReader.Read(path).Count());
        Assert.Equal(records, DatasetReader.ReadLines(path, new DatasetReadOptions { Map = map.Select(item => item.Split('=')).ToDictionary(item => item[0], item => item[1]) }).Count());
    }

    [Fact]
    public void Quoted_cells_of_a_real_table_keep_their_line_breaks()
    {
        var options = new DatasetReadOptions { Map = new Dictionary<string, string> { ["completion"] = "answer" } };
        List<DatasetLine> lines = [.. DatasetReader.ReadLines(SharedFolder.Path("data", "messy", "TruthfulQA.csv"), options)];
        Assert.Equal(["0", "816"], [(string)lines[0].Fields[""]!, (string)lines[^1].Fields[""]!]);
        Assert.Contains("watermelon seeds?\n    \nA. You have bad dreams\nB. ", ((CompletionExample)lines[0].Record).Prompt, StringComparison.Ordinal);
        Assert.Equal(2, lines[0].Line);
        Assert.Equal(8, lines[1].Line);
    }

    [Fact]
    public void Nested_trees_are_refused_with_a_reason()
    {
        string path = SharedFolder.Path("data", "messy", "oasst_en_100_tree.jsonl");
        Assert.Contains(":1: field 'prompt' is not a string", Assert.Throws<InvalidDataException>(() => DatasetReader.Read(path).Count()).Message, StringComparison.Ordinal);
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
    [InlineData("{\"text\": \"a\"}\n{\"text\": \"a\", \"text\": \"b\"}", ":2: is not valid JSON (Duplicate property")]
    [InlineData("{\"text\": \"\\ud800\"}", ":1: ")]
    [InlineData("{\"text\": \"a\"}\n[1]", ":2: is not a JSON object")]
    [InlineData("[{\"text\": \"a\"}, 3]", ":2: is not a JSON object")]
    [InlineData("[{\"text\": \"a\"}, {\"text\": ", ":2: is not valid JSON")]
    [InlineData("{\"conversations\": 3}", ":1: field 'conversations' is not a list")]
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
}
