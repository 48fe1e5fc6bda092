using Nibble.Evaluation.Predictions;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;

namespace Nibble.Evaluation.Tests;

/// <summary>Answers of a real trained model to many prompts.</summary>
public class AnswerGeneratorTests
{
    private static string Folder => SharedFolder.Path("models", "stories260K", "hf");

    private static readonly string[] Prompts =
    [
        "Once upon a time", "The little dog was", "Lily saw a big red ball and she", "Tom", "One day, a girl named Mia went to the park with her mom and", "The sun",
        "A cat",
    ];

    [Fact]
    public void Each_prompt_gets_the_answer_that_it_gets_alone()
    {
        using DecoderModel model = ModelLoader.Load(Folder);
        (AnswerGenerator generator, EvaluationExample[] examples, HfTokenizer tokenizer) = Setting(model, new GenerationOptions { MaxNewTokens = 20 });

        Dictionary<int, string> answers = generator.Answer(examples).ToDictionary(item => item.Example, item => item.Answer);

        Assert.Equal(Enumerable.Range(0, Prompts.Length), answers.Keys.Order());
        for (int i = 0; i < Prompts.Length; i++)
        {
            int[] alone = TextGenerator.Generate(model, [examples[i].Tokens!.Question().Prompt], new GenerationOptions { MaxNewTokens = 20 })[0];
            Assert.Equal(tokenizer.Decode(alone, skipSpecialTokens: true), answers[i]);
        }
    }

    [Fact]
    public void An_interrupted_run_that_goes_on_gives_the_answers_of_an_undisturbed_one_also_when_sampling()
    {
        using DecoderModel model = ModelLoader.Load(Folder);
        (AnswerGenerator generator, EvaluationExample[] examples, _) = Setting(model, new GenerationOptions { MaxNewTokens = 12, Temperature = 1, Seed = 7 });
        Dictionary<int, string> whole = generator.Answer(examples).ToDictionary(item => item.Example, item => item.Answer);

        (int Example, string Answer)[] first = [.. generator.Answer(examples).Take(4)];
        EvaluationExample[] known = [.. examples.Select((example, i) => example with { Prediction = first.Any(item => item.Example == i) ? "known" : null })];
        (int Example, string Answer)[] rest = [.. generator.Answer(known)];

        Assert.Equal(Prompts.Length - 4, rest.Length);
        Assert.All(rest, item => Assert.Equal(whole[item.Example], item.Answer));
    }

    [Fact]
    public void An_answer_ends_before_a_stop_text()
    {
        using DecoderModel model = ModelLoader.Load(Folder);
        (_, EvaluationExample[] examples, HfTokenizer tokenizer) = Setting(model, new GenerationOptions());
        var generator = new AnswerGenerator(model, tokenizer, new GenerationOptions { MaxNewTokens = 60 }) { Stops = new StopStrings(tokenizer, ["."]) };
        Assert.All(generator.Answer(examples), item => Assert.DoesNotContain('.', item.Answer));
    }

    [Fact]
    public void A_prompt_that_fills_the_model_is_answered_with_nothing()
    {
        using DecoderModel model = ModelLoader.Load(Folder);
        (AnswerGenerator generator, EvaluationExample[] examples, _) = Setting(model, new GenerationOptions { MaxNewTokens = 4 });
        int[] ids = [.. Enumerable.Repeat(300, model.Config.MaxPositionEmbeddings), 5];
        examples[2] = examples[2] with { Tokens = new EncodedExample(ids, [.. Enumerable.Repeat(-100, ids.Length - 1), 5]) };

        Dictionary<int, string> answers = generator.Answer(examples).ToDictionary(item => item.Example, item => item.Answer);

        Assert.Equal("", answers[2]);
        Assert.All(answers.Where(item => item.Key != 2), item => Assert.NotEqual("", item.Value));
    }

    private static (AnswerGenerator Generator, EvaluationExample[] Examples, HfTokenizer Tokenizer) Setting(DecoderModel model, GenerationOptions options)
    {
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(Folder);
        EvaluationExample[] examples =
        [
            .. Prompts.Select(prompt =>
            {
                int[] ids = tokenizer.Encode(prompt, addSpecialTokens: true);
                return new EvaluationExample(prompt, []) { Tokens = new EncodedExample([.. ids, 2], [.. ids.Select(_ => -100), 2]) };
            }),
        ];
        return (new AnswerGenerator(model, tokenizer, options) { BatchSize = 3 }, examples, tokenizer);
    }
}
