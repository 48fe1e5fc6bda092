using System.Text.Json.Nodes;
using Nibble.Evaluation.Text;
using Nibble.Tests;

namespace Nibble.Evaluation.Tests.Text;

/// <summary>BLEU, chrF and TER against sacrebleu.</summary>
public class TranslationMetricsTests
{
    [Fact]
    public async Task Bleu_equals_that_of_sacrebleu()
    {
        JsonNode vectors = Vectors();
        EvaluationResult result = await new BleuEvaluator().EvaluateAsync(Examples(vectors));
        Assert.Equal((double)vectors["corpus_bleu"]!, result.Score, 1e-9);
        AssertValues(vectors, "sentence_bleu_effective_order", result);
        Assert.Equal(
            "BLEU = 15.06 44.5/18.2/9.9/6.5 (BP = 1.000 ratio = 1.027 hyp_len = 18366 ref_len = 17878)",
            FormattableString.Invariant($"BLEU = {result.Score:F2} {result.Details["precision1"]:F1}/{result.Details["precision2"]:F1}/{result.Details["precision3"]:F1}/{result.Details["precision4"]:F1} (BP = {result.Details["brevity_penalty"]:F3} ratio = {result.Details["prediction_tokens"] / result.Details["reference_tokens"]:F3} hyp_len = {result.Details["prediction_tokens"]} ref_len = {result.Details["reference_tokens"]})"));
        Assert.InRange(result.Score, result.Interval!.Value.Low, result.Interval.Value.High);
    }

    [Fact]
    public async Task Chrf_equals_that_of_sacrebleu()
    {
        JsonNode vectors = Vectors();
        EvaluationResult result = await new ChrfEvaluator().EvaluateAsync(Examples(vectors));
        Assert.Equal((double)vectors["corpus_chrf"]!, result.Score, 1e-9);
        AssertValues(vectors, "chrf", result);
        AssertValues(vectors, "chrf++", await new ChrfEvaluator(words: true).EvaluateAsync(Examples(vectors)));
    }

    [Fact]
    public async Task Ter_equals_that_of_sacrebleu()
    {
        JsonNode vectors = Vectors();
        EvaluationResult result = await new TerEvaluator().EvaluateAsync(Examples(vectors));
        AssertValues(vectors, "ter", result);
        Assert.False(result.HigherIsBetter);
    }

    [Theory]
    [InlineData("a a b", "a b b", 100.0 / 3)]
    [InlineData("a c d c c", "d a c c c b", 100.0 / 3)]
    [InlineData("a c d d c", "d a a d c b", 50)]
    public async Task A_run_at_the_end_may_be_moved_into_its_own_place(string prediction, string reference, double score) =>
        Assert.Equal(score, (await new TerEvaluator().EvaluateAsync([new EvaluationExample("", [reference], prediction)])).Score, 1e-9); // Found with sacrebleu.

    [Fact]
    public async Task Of_several_references_bleu_takes_all_chrf_the_best_and_ter_the_nearest()
    {
        // Each n-gram of the prediction is in one of the references.
        var example = new EvaluationExample("", ["a b c d x y z u", "d e f g", "c d e f"], "a b c d e f");
        EvaluationResult bleu = await new BleuEvaluator().EvaluateAsync([example]);
        Assert.Equal(6.0, bleu.Details["prediction_tokens"]);
        Assert.Equal(4.0, bleu.Details["reference_tokens"]); // As far from 6 as 8 is, and shorter.
        Assert.Equal(100 * Math.Pow(2.0 / 3, 0.25), bleu.Score, 1e-9);

        EvaluationResult ter = await new TerEvaluator().EvaluateAsync([example]);
        Assert.Equal(100 * 2 / (16.0 / 3), ter.Score, 1e-9);

        EvaluationResult best = await new ChrfEvaluator().EvaluateAsync([example with { References = ["c d e f"] }]);
        Assert.Equal(best.Score, (await new ChrfEvaluator().EvaluateAsync([example])).Score, 1e-12);
    }

    [Fact]
    public async Task Texts_without_words_score_without_failing()
    {
        EvaluationExample[] examples = [new("", ["a b"], ""), new("", [""], "a b"), new("", [""], "")];
        Assert.Equal([0, 0, 0], (await new BleuEvaluator().EvaluateAsync(examples)).Values);
        Assert.Equal([0, 0, 0], (await new ChrfEvaluator(words: true).EvaluateAsync(examples)).Values);
        Assert.Equal([100, 100, 0], (await new TerEvaluator().EvaluateAsync(examples)).Values);
    }

    private static JsonNode Vectors() => JsonNode.Parse(File.ReadAllText(SharedFolder.Path("vectors", "metrics", "bleu_public.json")))!;

    private static EvaluationExample[] Examples(JsonNode vectors) =>
        [.. vectors["cases"]!.AsArray().Select(item => new EvaluationExample("", [(string)item!["ref"]!], (string)item["hyp"]!))];

    private static void AssertValues(JsonNode vectors, string key, EvaluationResult result) => Assert.All(
        vectors["cases"]!.AsArray().Select((item, i) => ((double)item![key]!, result.Values[i]!.Value)), pair => Assert.Equal(pair.Item1, pair.Value, 1e-9));
}
