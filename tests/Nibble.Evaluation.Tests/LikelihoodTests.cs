using Nibble.Evaluation.Likelihood;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;

namespace Nibble.Evaluation.Tests;

/// <summary>What a real trained model thinks of given texts.</summary>
public class LikelihoodTests
{
    private static string Folder => SharedFolder.Path("models", "stories260K", "hf");

    [Fact]
    public async Task Perplexity_weighs_tokens_not_examples()
    {
        using DecoderModel model = ModelLoader.Load(Folder);
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(Folder);
        EvaluationExample[] examples = [.. new[] { "Once upon a time there was a little girl.", "Cats xylophone." }.Select(text => Text(tokenizer, text))];

        EvaluationResult result = await new PerplexityEvaluator(model, tokenizer).EvaluateAsync(examples);

        EvaluationLoss[] alone = [.. examples.Select(example => EvaluationLoss.Of(model, [EncodedExample.Batch([example.Tokens!])]))];
        double sum = alone.Sum(loss => loss.Sum);
        long tokens = examples.Sum(example => example.Tokens!.InputIds.Length - 1);
        Assert.Equal(Math.Exp(sum / tokens), result.Score, 1e-6);
        Assert.Equal(tokens, result.Details["tokens"]);
        Assert.Equal(41 + 15, result.Details["bytes"]);
        Assert.Equal(sum / Math.Log(2) / 56, result.Details["bits_per_byte"], 1e-6);
        Assert.Equal(alone.Select(loss => loss.Perplexity), result.Values.Select(value => value!.Value), (a, b) => Math.Abs(a - b) < 1e-4);
        Assert.False(result.HigherIsBetter);
    }

    [Fact]
    public async Task Every_label_of_a_long_text_is_scored_once_with_at_least_the_context_that_the_stride_leaves()
    {
        using DecoderModel model = ModelLoader.Load(Folder);
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(Folder);
        string story = File.ReadAllText(SharedFolder.Path("data", "text", "tinystories_train_sample.txt"))[..1500];
        EvaluationExample example = Text(tokenizer, story);
        int[] ids = example.Tokens!.InputIds;

        EvaluationResult result = await new PerplexityEvaluator(model, window: 64, stride: 48).EvaluateAsync([example]);

        double sum = EvaluationLoss.Of(model, [TokenBatch.Of(ids[..64])]).Sum;
        for (int scored = 64, start = 48; scored < ids.Length; scored = Math.Min(start + 64, ids.Length), start += 48)
        {
            int end = Math.Min(start + 64, ids.Length);
            int[] labels = [.. Enumerable.Range(start, end - start).Select(i => i < scored ? -100 : ids[i])];
            sum += EvaluationLoss.Of(model, [EncodedExample.Batch([new EncodedExample(ids[start..end], labels)])]).Sum;
        }

        Assert.Equal(ids.Length - 1, result.Details["tokens"]);
        Assert.Equal(Math.Exp(sum / (ids.Length - 1)), result.Score, 1e-5);
    }

    [Fact]
    public async Task A_text_longer_than_the_model_reads_is_measured_whole()
    {
        using DecoderModel model = ModelLoader.Load(Folder);
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(Folder);
        string stories = File.ReadAllText(SharedFolder.Path("data", "text", "tinystories_train_sample.txt"))[..6000].Replace("<|endoftext|>", "", StringComparison.Ordinal);
        EvaluationExample example = Text(tokenizer, stories);
        Assert.True(example.Tokens!.InputIds.Length > 2 * model.Config.MaxPositionEmbeddings);

        EvaluationResult result = await new PerplexityEvaluator(model).EvaluateAsync([example]);

        Assert.Equal(example.Tokens.InputIds.Length - 1, result.Details["tokens"]);
        Assert.InRange(result.Score, 1.5, 10);
    }

    [Theory]
    [InlineData(1, null, "window is 1; it must lie between 2 and the model's 512 positions.")]
    [InlineData(513, null, "window is 513; it must lie between 2 and the model's 512 positions.")]
    [InlineData(64, 64, "stride is 64; it must be positive and shorter than the window of 64 tokens.")]
    public void A_window_that_does_not_fit_is_refused(int window, int? stride, string message)
    {
        using DecoderModel model = ModelLoader.Load(Folder);
        Assert.Equal(message, Assert.Throws<ArgumentException>(() => new PerplexityEvaluator(model, window: window, stride: stride)).Message);
    }

    [Fact]
    public async Task The_likelier_answer_is_chosen_and_a_long_one_is_not_punished_when_bytes_are_counted()
    {
        using DecoderModel model = ModelLoader.Load(Folder);
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(Folder);
        string[] prompts = ["Once upon a", "Lily and her mom went to the"];
        string[][] choices = [[" time", " xz"], [" b", " park to play with her friends"]];
        EvaluationExample[] examples =
        [
            .. prompts.Select((prompt, i) => new EvaluationExample(prompt, [])
            {
                Choices = [.. choices[i].Select(choice => Continuation(tokenizer, prompt, choice))],
                Answer = i,
            }),
        ];

        EvaluationResult plain = await new MultipleChoiceEvaluator(model, tokenizer).EvaluateAsync(examples);
        EvaluationResult normalized = await new MultipleChoiceEvaluator(model, tokenizer, normalized: true).EvaluateAsync(examples);

        Assert.Equal(("acc", 0.5, 1.0), (plain.Metric, plain.Score, plain.Details["acc_norm"]));
        Assert.Equal(("acc_norm", 1.0, 0.5), (normalized.Metric, normalized.Score, normalized.Details["acc"]));
        Assert.Equal([1, 0], plain.Values);
    }

    [Fact]
    public async Task An_example_without_choices_is_named()
    {
        using DecoderModel model = ModelLoader.Load(Folder);
        var evaluator = new MultipleChoiceEvaluator(model, HfTokenizer.FromPretrained(Folder));
        InvalidDataException exception = await Assert.ThrowsAsync<InvalidDataException>(() => evaluator.EvaluateAsync([new EvaluationExample("a", ["b"])]));
        Assert.Equal("example 1 has 0 choices; multiple choice needs at least two.", exception.Message);
    }

    private static EvaluationExample Text(HfTokenizer tokenizer, string text)
    {
        int[] ids = tokenizer.Encode(text, addSpecialTokens: true);
        return new EvaluationExample("", [text]) { Tokens = new EncodedExample(ids, ids) };
    }

    private static EncodedExample Continuation(HfTokenizer tokenizer, string prompt, string answer)
    {
        int given = tokenizer.Encode(prompt, addSpecialTokens: true).Length;
        int[] ids = tokenizer.Encode(prompt + answer, addSpecialTokens: true);
        return new EncodedExample(ids, [.. ids.Select((id, i) => i < given ? -100 : id)]);
    }
}
