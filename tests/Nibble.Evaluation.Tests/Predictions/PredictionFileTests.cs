using Nibble.Evaluation.Answers;
using Nibble.Evaluation.Predictions;
using Nibble.Tests;

namespace Nibble.Evaluation.Tests.Predictions;

public class PredictionFileTests
{
    private static readonly Prediction[] Some =
    [
        new(2, "What is\n1+1?", "2 <>\u00E9\U0001F600", ["2", "two"]), new(0, "", "", []), new(1, "p", "a\r\nb", ["c"]),
    ];

    [Fact]
    public void Predictions_come_back_as_they_were_written_in_their_order()
    {
        using var folder = new TempFolder();
        Write(folder["p.jsonl"], Some[..2]);
        using (var writer = new PredictionWriter(folder["p.jsonl"]))
        {
            AssertEqual(Some[..2], writer.Written);
            writer.Write(Some[2]);
            Assert.EndsWith("\n", File.ReadAllText(folder["p.jsonl"]), StringComparison.Ordinal); // At once.
        }

        AssertEqual(Some, PredictionFile.Read(folder["p.jsonl"]));
        Assert.StartsWith("""{"index":2,"prompt":"What is\n1+1?","prediction":"2 <>""", File.ReadAllText(folder["p.jsonl"]), StringComparison.Ordinal);
    }

    [Fact]
    public void A_run_goes_on_wherever_its_file_was_cut()
    {
        using var folder = new TempFolder();
        Write(folder["whole.jsonl"], Some);
        byte[] whole = File.ReadAllBytes(folder["whole.jsonl"]);
        for (int length = 0; length <= whole.Length; length++)
        {
            File.WriteAllBytes(folder["p.jsonl"], whole[..length]);
            using (var writer = new PredictionWriter(folder["p.jsonl"]))
            {
                Assert.Equal(whole[..length].Count(value => value == '\n'), writer.Written.Count);
                foreach (Prediction prediction in Some.Skip(writer.Written.Count))
                {
                    writer.Write(prediction);
                }
            }

            Assert.Equal(whole, File.ReadAllBytes(folder["p.jsonl"]));
        }
    }

    [Theory]
    [InlineData("""{"index": 1, "prompt": "p", """, "is not valid JSON")]
    [InlineData("""{"prompt": "p", "prediction": "a", "references": []}""", "has no field 'index'; its fields are prompt, prediction, references")]
    [InlineData("""{"index": -1, "prompt": "p", "prediction": "a", "references": []}""", "has a field 'index' that is not a whole number from 0")]
    [InlineData("""{"index": 1, "prompt": "p", "prediction": ["a"], "references": []}""", "has a field 'prediction' that is not a text")]
    [InlineData("""{"index": 1, "prompt": "p", "prediction": "a", "references": [{}]}""", "has a field 'references' that is a list of other things")]
    [InlineData("""{"index": 2, "prompt": "p", "prediction": "a", "references": []}""", "has the index 2 of an earlier line")]
    public void A_bad_line_elsewhere_is_an_error_with_file_line_and_reason(string line, string reason)
    {
        using var folder = new TempFolder();
        Write(folder["p.jsonl"], Some[..2]);
        File.AppendAllText(folder["p.jsonl"], line + "\n");
        var exception = Assert.Throws<InvalidDataException>(() => new PredictionWriter(folder["p.jsonl"]));
        Assert.StartsWith($"{folder["p.jsonl"]}:3: {reason}", exception.Message, StringComparison.Ordinal);
        Assert.Equal(3, File.ReadLines(folder["p.jsonl"]).Count()); // Nothing is lost.
    }

    [Theory]
    [InlineData("p.jsonl", "{\"prediction\":\"a\"}\n\n{\"prediction\":\"b\"}", "r.jsonl", "{\"answer\":\"x\",\"question\":\"q\"}\n{\"answer\":[\"y\",3],\"question\":\"r\"}\n", "q:a:x|r:b:y,3")]
    [InlineData("p.jsonl", "{\"index\":1,\"prediction\":\"b\"}\n{\"index\":0,\"prediction\":\"a\",\"prompt\":\"p\"}", "r.json", "[{\"output\":\"x\"},{\"output\":true}]", "p:a:x|:b:true")]
    [InlineData("p.jsonl", "{\"id\":\"u\",\"prediction\":\"b\"}\n{\"id\":7,\"prediction\":\"a\"}", "r.csv", "id,target\n7,x\nu,y\n", ":a:x|:b:y")]
    [InlineData("p.jsonl", "{\"id\":\"u\",\"prediction\":\"b\"}\n{\"id\":\"v\",\"prediction\":\"a\"}", "r.txt", "x\n\n", ":b:x|:a:")]
    [InlineData("p.txt", "a\n\nc", "r.de", "x\ny\nz\n", ":a:x|::y|:c:z")]
    [InlineData("p.jsonl", "{\"index\":5,\"prediction\":\"b\"}\n{\"index\":3,\"prediction\":\"a\"}", "r.tsv", "index\treference\n3\tx\n5\ty\n", ":a:x|:b:y")]
    public void Predictions_find_their_references(string name, string predictions, string referenceName, string references, string expected)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder[name], predictions);
        File.WriteAllText(folder[referenceName], references);
        IReadOnlyList<EvaluationExample> pairs = PredictionFile.Pair(folder[name], folder[referenceName]);
        Assert.Equal(expected, string.Join('|', pairs.Select(pair => $"{pair.Prompt}:{pair.Prediction}:{string.Join(',', pair.References)}")));
    }

    [Theory]
    [InlineData("a\nb", "x", "p.txt has 2 rows and ")]
    [InlineData("", "x", "p.txt has no rows")]
    public void Files_of_different_length_are_an_error(string predictions, string references, string problem)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["p.txt"], predictions);
        File.WriteAllText(folder["r.txt"], references);
        Assert.Contains(problem, Assert.Throws<InvalidDataException>(() => PredictionFile.Pair(folder["p.txt"], folder["r.txt"])).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\"id\":1,\"prediction\":\"a\"}", "{\"id\":1,\"answer\":\"x\"}\n{\"id\":2,\"answer\":\"y\"}", "r.jsonl:2: has no prediction with the id 2")]
    [InlineData("{\"id\":1,\"prediction\":\"a\"}\n{\"id\":2,\"prediction\":\"a\"}", "{\"id\":1,\"answer\":\"x\"}", "p.jsonl:2: has no reference with the id 2")]
    [InlineData("{\"id\":1,\"prediction\":\"a\"}\n{\"id\":1,\"prediction\":\"a\"}", "{\"id\":1,\"answer\":\"x\"}", "p.jsonl:2: has the id 1 of an earlier row")]
    [InlineData("{\"index\":1,\"prediction\":\"a\"}", "{\"answer\":\"x\"}", "r.jsonl:1: has no prediction with the index 0")]
    [InlineData("{\"prediction\":\"a\"}", "{\"solution\":\"x\"}", "r.jsonl:1: has no field 'reference'; its fields are solution")]
    [InlineData("{\"text\":\"a\"}", "{\"answer\":\"x\"}", "p.jsonl:1: has no field 'prediction'; its fields are text")]
    [InlineData("{\"prediction\":\"a\"}", "[1", "r.jsonl:1: ")]
    public void A_row_without_a_partner_is_an_error(string predictions, string references, string problem)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["p.jsonl"], predictions);
        File.WriteAllText(folder["r.jsonl"], references);
        Assert.Contains(problem, Assert.Throws<InvalidDataException>(() => PredictionFile.Pair(folder["p.jsonl"], folder["r.jsonl"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Written_predictions_are_measured_with_their_own_references_and_with_those_of_GSM8K()
    {
        using var folder = new TempFolder();
        Prediction[] predictions = [.. Enumerable.Range(0, 1319).Reverse().Select(i => new Prediction(i, "p", i % 2 == 0 ? "#### -1" : "no answer", ["-1"]))];
        Write(folder["p.jsonl"], predictions);
        IReadOnlyList<EvaluationExample> own = PredictionFile.Pair(folder["p.jsonl"]);
        Assert.Equal(660.0 / 1319, (await new NumericEvaluator().EvaluateAsync(own)).Score, 1e-12);

        IReadOnlyList<EvaluationExample> real = PredictionFile.Pair(folder["p.jsonl"], SharedFolder.Path("data", "gsm8k", "test.jsonl"));
        Assert.Equal(0, (await new NumericEvaluator().EvaluateAsync(real)).Score);
        Assert.Equal("#### -1", real[0].Prediction);
        Assert.EndsWith("#### 18", real[0].References[0], StringComparison.Ordinal);
        Assert.Equal(real[0].References, PredictionFile.Pair(folder["p.jsonl"], SharedFolder.Path("data", "gsm8k", "test.jsonl"), "answer")[0].References);
    }

    private static void Write(string path, IEnumerable<Prediction> predictions)
    {
        using var writer = new PredictionWriter(path);
        foreach (Prediction prediction in predictions)
        {
            writer.Write(prediction);
        }
    }

    private static void AssertEqual(IEnumerable<Prediction> expected, IEnumerable<Prediction> found) => Assert.Equal(
        expected.Select(item => (item.Index, item.Prompt, item.Text, string.Join('|', item.References))),
        found.Select(item => (item.Index, item.Prompt, item.Text, string.Join('|', item.References))));
}
