using System.Diagnostics;
using System.Text.Json.Nodes;
using Nibble.Evaluation.Answers;
using Nibble.Tests;

namespace Nibble.Evaluation.Tests.Answers;

public class AnswerEvaluatorTests
{
    private static readonly AnswerExtraction Gsm8k = new(@"#### (-?[0-9.,]+)");

    [Theory]
    [InlineData(" Paris\n", "paris", AnswerNormalization.Trim, 1)]
    [InlineData("Paris.", "paris", AnswerNormalization.Trim, 0)]
    [InlineData("The  \"Eiffel\" tower!", "eiffel tower", AnswerNormalization.Squad, 1)]
    [InlineData("theory of a game", "theory of game", AnswerNormalization.Squad, 1)]
    [InlineData("theory", "ory", AnswerNormalization.Squad, 0)]
    [InlineData("", "the", AnswerNormalization.Squad, 1)]
    public async Task Exact_match_leaves_aside_what_does_not_matter(string prediction, string reference, AnswerNormalization normalization, double score) =>
        Assert.Equal(score, (await new ExactMatchEvaluator(normalization).EvaluateAsync([new EvaluationExample("", ["else", reference], prediction)])).Score);

    [Theory]
    [InlineData("the cat sat", "a cat sat down", 0.8)]
    [InlineData("cat cat", "cat", 2.0 / 3)]
    [InlineData("dog", "cat", 0)]
    [InlineData("", "cat", 0)]
    [InlineData("the", "an", 1)]
    public async Task F1_counts_shared_words(string prediction, string reference, double score) =>
        Assert.Equal(score, (await new TokenF1Evaluator().EvaluateAsync([new EvaluationExample("", ["zebra", reference], prediction)])).Score, 1e-12);

    [Theory]
    [InlineData("1,234", "1234.0", 1)]
    [InlineData("$1,234", "1234", 1)]
    [InlineData("It costs $1,234.50.", "1234.5", 1)]
    [InlineData("-\u20AC5", "\u20AC-5", 1)]
    [InlineData("\u22125", "-5", 1)]
    [InlineData("7 - 3 = 4", "4", 1)]
    [InlineData("10-3", "3", 1)]
    [InlineData("10-3", "-3", 0)]
    [InlineData("7 - 3", "3", 1)]
    [InlineData("-$ 5", "-5", 1)]
    [InlineData("1,2345", "2345", 1)]
    [InlineData("1e3", "1000", 1)]
    [InlineData(".5", "0.50", 1)]
    [InlineData("12345678901234567890", "12345678901234567891", 0)]
    [InlineData("none", "3", 0)]
    [InlineData("1e99", "3", 0)]
    [InlineData("-7e28", "7e28", 0)]
    public async Task Numbers_are_equal_however_they_are_written(string prediction, string reference, double score) =>
        Assert.Equal(score, (await new NumericEvaluator().EvaluateAsync([new EvaluationExample("", [reference], prediction)])).Score);

    [Fact]
    public async Task Numbers_may_differ_by_the_tolerance()
    {
        EvaluationExample[] examples = [new("", ["3.14"], "3.15"), new("", ["3.14"], "3.16"), new("", ["0.1"], "-0.1")];
        Assert.Equal([1, 0, 0], (await new NumericEvaluator(0.01).EvaluateAsync(examples)).Values);
        Assert.Throws<ArgumentException>(() => new NumericEvaluator(-1));
        Assert.Throws<ArgumentException>(() => new NumericEvaluator(double.NaN));
    }

    [Fact]
    public async Task A_reference_without_a_number_is_an_error() => Assert.Contains(
        "Example 0 has the reference 'four'",
        (await Assert.ThrowsAsync<InvalidDataException>(() => new NumericEvaluator().EvaluateAsync([new EvaluationExample("", ["four"], "4")]))).Message,
        StringComparison.Ordinal);

    [Fact]
    public async Task Answers_of_GSM8K_are_found_in_every_reference()
    {
        EvaluationExample[] examples = [.. File.ReadLines(SharedFolder.Path("data", "gsm8k", "test.jsonl")).Select(line => JsonNode.Parse(line)!)
            .Select(row => new EvaluationExample((string)row["question"]!, [(string)row["answer"]!], (string)row["answer"]!))];
        Assert.Equal(1319, examples.Length);

        // Right but for the way it is written, wrong, and without an answer, in turn.
        EvaluationExample[] answered = [.. examples.Select((example, i) => example with
        {
            Prediction = (i % 3) switch
            {
                0 => $"Thinking: #### 0, no: #### {Gsm8k.Find(example.References[0])!.Replace(",", "", StringComparison.Ordinal)}.00\n",
                1 => "#### 123456789",
                _ => example.References[0].Replace("####", "=", StringComparison.Ordinal),
            },
        })];
        EvaluationResult exact = await new ExactMatchEvaluator(extraction: Gsm8k).EvaluateAsync(examples);
        Assert.Equal((1, 0), (exact.Score, exact.Details["unextracted"]));
        EvaluationResult numeric = await new NumericEvaluator(extraction: Gsm8k).EvaluateAsync(answered);
        Assert.Equal(440.0 / 1319, numeric.Score, 1e-12);
        Assert.Equal(439, numeric.Details["unextracted"]);
        Assert.Equal([1, 0, 0, 1], numeric.Values.Take(4));

        // Without an expression the last number of the text is the answer.
        Assert.Equal(1, (await new NumericEvaluator().EvaluateAsync(examples)).Score);
    }

    [Fact]
    public async Task A_reference_may_be_the_bare_answer()
    {
        EvaluationExample[] examples = [new("", ["72"], "so #### 72"), new("", ["72"], "so 72")];
        EvaluationResult result = await new ExactMatchEvaluator(extraction: Gsm8k).EvaluateAsync(examples);
        Assert.Equal([1, 0], result.Values);
        Assert.Equal(1, result.Details["unextracted"]);
    }

    [Fact]
    public async Task An_expression_that_takes_too_long_finds_nothing()
    {
        var slow = new AnswerExtraction("^(a+)+$", TimeSpan.FromMilliseconds(50));
        var watch = Stopwatch.StartNew();
        EvaluationResult result = await new ExactMatchEvaluator(extraction: slow).EvaluateAsync([new EvaluationExample("", ["a"], new string('a', 40) + "!")]);
        Assert.Equal((0, 1), (result.Score, result.Details["unextracted"]));
        Assert.InRange(watch.Elapsed.TotalSeconds, 0, 20);
    }

    [Fact]
    public void A_malformed_expression_is_an_error() => Assert.ThrowsAny<ArgumentException>(() => new AnswerExtraction("(a"));
}
