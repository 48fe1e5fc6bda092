using System.Diagnostics;
using System.Text.Json.Nodes;
using Nibble.Evaluation.Text;
using Nibble.Tests;

namespace Nibble.Evaluation.Tests.Text;

/// <summary>Against Google's rouge_score and NLTK.</summary>
public class RougeEvaluatorTests
{
    [Theory]
    [InlineData("rouge1", false)]
    [InlineData("rouge2", false)]
    [InlineData("rouge3", false)]
    [InlineData("rougeL", false)]
    [InlineData("rougeLsum", false)]
    [InlineData("rouge1", true)]
    [InlineData("rouge2", true)]
    [InlineData("rouge3", true)]
    [InlineData("rougeL", true)]
    [InlineData("rougeLsum", true)]
    public async Task Every_case_and_the_mean_equal_those_of_rouge_score(string metric, bool stem)
    {
        JsonNode vectors = JsonNode.Parse(File.ReadAllText(SharedFolder.Path("vectors", "metrics", "rouge_public.json")))!;
        string kind = stem ? "stem" : "nostem";
        JsonArray cases = vectors["cases"]!.AsArray();
        EvaluationExample[] examples = [.. cases.Select(item => new EvaluationExample("", [(string)item!["target"]!], (string)item["prediction"]!))];
        var evaluator = new RougeEvaluator(metric, stem);
        EvaluationResult result = await evaluator.EvaluateAsync(examples);
        foreach ((EvaluationExample example, int i) in examples.Select((example, i) => (example, i)))
        {
            EvaluationResult alone = await evaluator.EvaluateAsync([example]);
            AssertScore(cases[i]![kind]![metric]!, alone);
            Assert.Equal(alone.Score, result.Values[i]!.Value, 1e-12);
        }

        AssertScore(vectors["mean"]![kind]![metric]!, result);
        Assert.InRange(result.Score, result.Interval!.Value.Low, result.Interval.Value.High);
    }

    [Fact]
    public void Every_stem_equals_that_of_NLTK()
    {
        JsonNode vectors = JsonNode.Parse(File.ReadAllText(SharedFolder.Path("vectors", "metrics", "porter_nltk_public.json")))!;
        Assert.All(vectors["stems"]!.AsObject(), item => Assert.Equal((string)item.Value!, PorterStemmer.Stem(item.Key)));
    }

    [Fact]
    public async Task Of_several_references_the_best_counts()
    {
        var example = new EvaluationExample("", ["nothing of it", "the cat sat down", "the cat"], "the cat sat");
        EvaluationResult result = await new RougeEvaluator("rouge1").EvaluateAsync([example]);
        Assert.Equal(6.0 / 7, result.Score, 1e-12);
        Assert.Equal((1, 0.75), (result.Details["precision"], result.Details["recall"]));
    }

    [Theory]
    [InlineData("\u212Aelvin", "kelvin", 1)] // The Kelvin sign's lower-case form is k.
    [InlineData("\u0130x", "i x", 1)] // That of a dotted I is i and a dot above, which parts words.
    [InlineData("na\u00EFve", "na ve", 1)]
    [InlineData("\u4E2D\u6587", "\u4E2D\u6587", 0)]
    public async Task Letters_beyond_ASCII_part_words_unless_their_lower_case_is_ASCII(string prediction, string reference, double score) =>
        Assert.Equal(score, (await new RougeEvaluator("rouge1").EvaluateAsync([new EvaluationExample("", [reference], prediction)])).Score);

    [Fact]
    public async Task A_text_as_long_as_a_book_is_compared_in_seconds()
    {
        string[] text = File.ReadAllText(SharedFolder.Path("data", "text", "wizard_of_oz.txt")).Split(' ');
        var example = new EvaluationExample("", [string.Join(' ', text[..20000])], string.Join(' ', text[1000..21000]).Replace('\n', ' '));
        var watch = Stopwatch.StartNew();
        Assert.InRange((await new RougeEvaluator("rougeL").EvaluateAsync([example])).Score, 0.9, 0.96);
        Assert.InRange((await new RougeEvaluator("rougeLsum").EvaluateAsync([example])).Score, 0.9, 1);
        Assert.InRange(watch.Elapsed.TotalSeconds, 0, 30);
    }

    [Theory]
    [InlineData("rouge0")]
    [InlineData("rouge")]
    [InlineData("rougel")]
    public void Other_names_are_refused(string metric) => Assert.Throws<ArgumentException>(() => new RougeEvaluator(metric));

    [Fact]
    public async Task Examples_without_prediction_or_reference_are_errors()
    {
        var evaluator = new RougeEvaluator("rouge1");
        Assert.Contains("no example", (await Assert.ThrowsAsync<InvalidDataException>(() => evaluator.EvaluateAsync([]))).Message, StringComparison.Ordinal);
        var whole = new EvaluationExample("", ["a"], "a");
        Assert.Contains("1 has no prediction", (await Assert.ThrowsAsync<InvalidDataException>(() => evaluator.EvaluateAsync([whole, whole with { Prediction = null }]))).Message, StringComparison.Ordinal);
        Assert.Contains("1 has no reference", (await Assert.ThrowsAsync<InvalidDataException>(() => evaluator.EvaluateAsync([whole, whole with { References = [] }]))).Message, StringComparison.Ordinal);
    }

    private static void AssertScore(JsonNode expected, EvaluationResult result)
    {
        Assert.Equal((double)expected[0]!, result.Details["precision"], 1e-9);
        Assert.Equal((double)expected[1]!, result.Details["recall"], 1e-9);
        Assert.Equal((double)expected[2]!, result.Details["fmeasure"], 1e-9);
        Assert.Equal((double)expected[2]!, result.Score, 1e-9);
    }
}
