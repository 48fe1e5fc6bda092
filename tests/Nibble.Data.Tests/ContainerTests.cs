using System.IO.Compression;
using System.Text;
using Nibble.Tests;
using Parquet.Schema;
using Parquet.Serialization;

namespace Nibble.Data.Tests;

/// <summary>The same records out of whatever file holds them.</summary>
public class ContainerTests
{
    private static readonly DatasetRecord[] Two = [new TrainingExample("Say \"hi\", please", "", "hi\nthere"), new TrainingExample("2", "b", "c")];

    [Theory]
    [InlineData("a.csv", "instruction,input,output\r\n\"Say \"\"hi\"\", please\",,\"hi\nthere\"\r\n\r\n2,b,c")]
    [InlineData("a.csv", "\uFEFFinput,output,instruction\n,\"hi\nthere\",\"Say \"\"hi\"\", please\"\nb,\"c\",2\n")]
    [InlineData("a.tsv", "instruction\tinput\toutput\n\"Say \"\"hi\"\", please\"\t\t\"hi\nthere\"\n2\tb\tc\n")]
    [InlineData("a.json", "\uFEFF[{\"instruction\": \"Say \\\"hi\\\", please\", \"output\": \"hi\\nthere\"}, {\"instruction\": \"2\", \"input\": \"b\", \"output\": \"c\"}]")]
    public void Tables_and_arrays_hold_the_same_records_also_gzipped(string name, string content)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder[name], content);
        Assert.Equal(Two, DatasetReader.Read(folder[name]));
        Compress(folder[$"{name}.gz"], Encoding.UTF8.GetBytes(content));
        Assert.Equal(Two, DatasetReader.Read(folder[$"{name}.gz"]));
    }

    [Fact]
    public async Task Parquet_is_read_group_by_group_with_nested_conversations()
    {
        using var folder = new TempFolder();
        Conversation[] rows = [.. Enumerable.Range(0, 10).Select(i => new Conversation
        {
            Messages = [new Turn { Role = "user", Content = $"question {i}" }, new Turn { Role = "assistant", Content = "ja, größer" }],
        })];
        await ParquetSerializer.SerializeAsync(rows, folder["a.parquet"], new Parquet.ParquetOptions { RowGroupSize = 4 });
        List<DatasetLine> lines = [.. DatasetReader.ReadLines(folder["a.parquet"], new DatasetReadOptions { Map = new Dictionary<string, string> { ["messages"] = "Messages" } })];
        Assert.Equal(Enumerable.Range(1, 10), lines.Select(line => line.Line));
        var last = (ChatExample)lines[^1].Record;
        Assert.Equal("""[{"role":"user","content":"question 9"},{"role":"assistant","content":"ja, größer"}]""", last.Messages.ToJsonString(new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }));
    }

    [Fact]
    public async Task Parquet_columns_become_fields_of_their_type()
    {
        using var folder = new TempFolder();
        var schema = new ParquetSchema(new DataField<string>("prompt"), new DataField<string>("completion"), new DataField<long>("id"), new DataField<bool>("good"), new DataField<double?>("score"));
        Dictionary<string, object?>[] rows =
        [
            new() { ["prompt"] = "p", ["completion"] = "c", ["id"] = 1L << 40, ["good"] = true, ["score"] = 0.5 },
            new() { ["prompt"] = "q", ["completion"] = null, ["id"] = 2L, ["good"] = false, ["score"] = null },
        ];
        await using (FileStream file = File.Create(folder["a.parquet"]))
        {
            await ParquetSerializer.SerializeUntypedAsync(rows!, schema, file);
        }

        List<BadLine> bad = [];
        DatasetLine line = Assert.Single(DatasetReader.ReadLines(folder["a.parquet"], new DatasetReadOptions { OnBadLine = bad.Add }));
        Assert.Equal(new CompletionExample("p", "c"), line.Record);
        Assert.Equal("""{"prompt":"p","completion":"c","id":1099511627776,"good":true,"score":0.5}""", line.Fields.ToJsonString());
        Assert.Equal("field 'completion' is missing (completion records need prompt and completion)", Assert.Single(bad).Reason);
    }

    [Theory]
    [InlineData("instruction,output\na,b\na\nc,d\n", ":3: has 1 cells where the header has 2")]
    [InlineData("instruction,output\n\"a\nb\",c\na,b,c\n", ":4: has 3 cells where the header has 2")]
    [InlineData("instruction,output\na,\"b\n", ":1: the quoted cell that begins on line 2 has no end")]
    [InlineData("output,output\na,b\n", "the header names the column 'output' twice")]
    [InlineData("instruction,output\n", "has no records")]
    public void A_bad_row_of_a_table_is_named(string content, string reason)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["a.csv"], content);
        Assert.Contains(reason, Assert.Throws<InvalidDataException>(() => DatasetReader.Read(folder["a.csv"]).ToList()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Damaged_files_are_named_and_never_pass_for_shorter_ones()
    {
        using var folder = new TempFolder();
        string text = string.Concat(Enumerable.Range(0, 5000).Select(i => $"{{\"text\": \"line {i * 7919 % 10007}\"}}\n"));
        Compress(folder["whole.jsonl.gz"], Encoding.UTF8.GetBytes(text));
        byte[] whole = File.ReadAllBytes(folder["whole.jsonl.gz"]);
        File.WriteAllBytes(folder["cut.jsonl.gz"], whole[..(whole.Length / 2)]);
        whole[20] ^= 0xFF;
        File.WriteAllBytes(folder["flipped.jsonl.gz"], whole);
        File.WriteAllBytes(folder["cut.parquet"], "PAR1 and nothing more"u8.ToArray());
        Assert.All(["cut.jsonl.gz", "flipped.jsonl.gz", "cut.parquet"], name =>
            Assert.Contains(name, Assert.Throws<InvalidDataException>(() => DatasetReader.Read(folder[name]).Count()).Message, StringComparison.Ordinal));
    }

    [Fact]
    public void Bad_lines_are_skipped_and_told_when_that_is_wished()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["a.jsonl"], "{\n{\"text\": \"one\"}\n\n{\"text\": 2}\n{\"text\": \"three\"}");
        List<BadLine> bad = [];
        IEnumerable<DatasetLine> lines = DatasetReader.ReadLines(folder["a.jsonl"], new DatasetReadOptions { OnBadLine = bad.Add });
        Assert.Equal([(2, "one"), (5, "three")], lines.Select(line => (line.Line, ((TextExample)line.Record).Text)));
        Assert.Equal([1, 4], bad.Select(line => line.Line));
        Assert.Equal($"{folder["a.jsonl"]}:4: field 'text' is not a string.", bad[1].ToString());
    }

    [Fact]
    public void A_mapped_column_that_is_absent_is_named_with_those_there_are()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["a.jsonl"], "{\"q\": \"x\", \"a\": \"y\"}");
        var options = new DatasetReadOptions { Map = new Dictionary<string, string> { ["prompt"] = "question" } };
        var exception = Assert.Throws<InvalidDataException>(() => DatasetReader.ReadLines(folder["a.jsonl"], options).ToList());
        Assert.Contains(":1: has no column 'question' to read 'prompt' from; it has q, a", exception.Message, StringComparison.Ordinal);
    }

    private static void Compress(string path, byte[] content)
    {
        using var stream = new GZipStream(File.Create(path), CompressionLevel.Fastest);
        stream.Write(content);
    }

    private sealed class Conversation
    {
        public List<Turn> Messages { get; set; } = [];
    }

    private sealed class Turn
    {
        [System.Text.Json.Serialization.JsonPropertyName("role")]
        public string Role { get; set; } = "";

        [System.Text.Json.Serialization.JsonPropertyName("content")]
        public string Content { get; set; } = "";
    }
}
