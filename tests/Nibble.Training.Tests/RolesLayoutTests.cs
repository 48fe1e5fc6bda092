using System.Text;
using System.Text.Json.Nodes;
using Nibble.Data;
using Nibble.Modeling.ChatTemplates;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;
using Nibble.Training.Batching;
using Nibble.Training.Prompts;

namespace Nibble.Training.Tests;

public class RolesLayoutTests
{
    private static readonly NamedTemplate Roles = NamedTemplate.Find(NamedTemplate.Roles, "test");

    private static string Model => SharedFolder.Path("models", "stories260K", "hf");

    [Fact]
    public void The_layout_is_that_of_the_guide_with_an_end_token_after_each_answer()
    {
        JsonArray turns = Turns(("system", "Be brief."), ("user", " Once?\n"), ("assistant", "Yes, once."), ("user", "Who?"));
        var special = new JsonObject { ["bos_token"] = "<s>", ["eos_token"] = "</s>", ["add_generation_prompt"] = true };
        RenderedChat chat = ChatTemplate.Parse(Roles.Text).Render(turns, special);
        Assert.Equal("<s><|system|>\nBe brief.\n<|user|>\n Once?\n\n<|assistant|>\nYes, once.</s>\n<|user|>\nWho?\n<|assistant|>\n", chat.Text);
        (int start, int end) = Assert.Single(chat.GenerationSpans);
        Assert.Equal("Yes, once.</s>", chat.Text[start..end]);
        Assert.Equal("<|user|>\nHi", ChatTemplate.Parse(Roles.Text).Render(Turns(("user", "Hi")), new JsonObject { ["eos_token"] = "</s>" }).Text);
    }

    [Theory]
    [InlineData("oasst_en_100_openai_messages.jsonl", 100)]
    [InlineData("fastchat_dummy_sharegpt.json", 500)]
    public void Of_real_conversations_all_answers_with_their_end_tokens_are_learned_and_nothing_else(string file, int conversations)
    {
        ExampleEncoder encoder = Encoder(Roles);
        int read = 0;
        foreach (ChatExample chat in DatasetReader.Read(SharedFolder.Path("data", "chat", file)).Cast<ChatExample>())
        {
            read++;
            var text = new StringBuilder("<s>");
            var answers = new List<(int Start, int End)>();
            foreach (JsonNode? message in chat.Messages)
            {
                text.Append(text.Length == 3 ? "" : "\n").Append($"<|{message!["role"]}|>\n");
                int start = text.Length;
                text.Append(message["content"]);
                if ((string?)message["role"] == "assistant")
                {
                    answers.Add((start, text.Append("</s>").Length));
                }
            }

            List<TokenSpan> tokens = HfTokenizer.FromPretrained(Model).EncodeWithOffsets(text.ToString(), addSpecialTokens: false, likeTransformers: true);
            EncodedExample example = encoder.Encode(chat);
            Assert.Equal(tokens.Select(token => token.Id), example.InputIds);
            Assert.Equal(tokens.Select(token => answers.Any(answer => token.Start >= answer.Start && token.End <= answer.End) ? token.Id : -100), example.Labels);
        }

        Assert.Equal(conversations, read);
    }

    [Fact]
    public void Prefix_rendering_finds_what_the_marks_say()
    {
        var unmarked = new NamedTemplate("unmarked", Roles.Text
            .Replace("{%- generation %}", "", StringComparison.Ordinal).Replace("{%- endgeneration %}", "", StringComparison.Ordinal));
        (ExampleEncoder marks, ExampleEncoder prefixes) = (Encoder(Roles), Encoder(unmarked));
        foreach (DatasetRecord record in DatasetReader.Read(SharedFolder.Path("data", "chat", "oasst_en_100_openai_messages.jsonl")))
        {
            Assert.Equal(marks.Encode(record).Labels, prefixes.Encode(record).Labels);
        }
    }

    [Fact]
    public void An_instruction_is_the_same_as_its_conversation_and_a_completion_as_its_instruction()
    {
        ExampleEncoder encoder = Encoder(Roles, PromptStyle.Chat);
        EncodedExample chat = encoder.Encode(new ChatExample(Turns(("system", "S"), ("user", "Do it.\n\nWith this."), ("assistant", "Done."))));
        EncodedExample instruction = encoder.Encode(new TrainingExample("Do it.", "With this.", "Done.", "S"));
        Assert.Equal(chat.InputIds, instruction.InputIds);
        Assert.Equal(chat.Labels, instruction.Labels);
        Assert.Equal(encoder.Encode(new TrainingExample("Do it.", "", "Done.")).Labels, encoder.Encode(new CompletionExample("Do it.", "Done.")).Labels);
        Assert.Equal(
            Encoder(null).Encode(new TrainingExample("Do it.", "", "Done.", "S")).InputIds,
            Encoder(null, PromptStyle.Alpaca).Encode(new ChatExample(Turns(("system", "S"), ("user", "Do it."), ("assistant", "Done.")))).InputIds);
    }

    [Fact]
    public void Each_choice_is_written_like_the_right_one()
    {
        var question = new ChoiceExample("Who?", ["Lily", "Tom"], 1);
        foreach (ExampleEncoder encoder in new[] { Encoder(null), Encoder(Roles, PromptStyle.Chat), Encoder(null, PromptStyle.Alpaca) })
        {
            IReadOnlyList<EncodedExample> choices = encoder.Choices(question);
            Assert.Equal(encoder.Encode(question).InputIds, choices[1].InputIds);
            Assert.Equal(encoder.Encode(question with { Answer = 0 }).Labels, choices[0].Labels);
        }

        Assert.Equal(
            Encoder(Roles).Encode(new ChatExample(Turns(("user", "Who?"), ("assistant", "Tom")))).Labels, Encoder(Roles, PromptStyle.Chat).Choices(question)[1].Labels);
    }

    [Theory]
    [InlineData("tool", "\"x\"", "message 1 has role 'tool'")]
    [InlineData("assistant", "null", "message 1 has other content")]
    public void What_the_layout_cannot_hold_is_refused(string role, string content, string reason)
    {
        JsonArray turns = JsonNode.Parse($$"""[{"role": "{{role}}", "content": {{content}}}]""")!.AsArray();
        var exception = Assert.Throws<ChatTemplateException>(() => Encoder(Roles).Encode(new ChatExample(turns)));
        Assert.Contains(reason, exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Tools_and_tokenizers_without_an_end_token_are_refused()
    {
        JsonArray turns = Turns(("user", "Hi"), ("assistant", "Ho"));
        Assert.Contains("no place for tools", Assert.Throws<ChatTemplateException>(() => Encoder(Roles).Encode(new ChatExample(turns, new JsonArray("a")))).Message, StringComparison.Ordinal);
        Assert.Contains("this tokenizer names none", Assert.Throws<ChatTemplateException>(() => ChatTemplate.Parse(Roles.Text).Render(turns)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Records_that_a_style_cannot_hold_are_refused()
    {
        Assert.Contains("cannot tell question from answer", Assert.Throws<FormatException>(() => Encoder(Roles, PromptStyle.Chat).Encode(new TextExample("x"))).Message, StringComparison.Ordinal);
        JsonArray turns = Turns(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"));
        Assert.Contains("has 4 messages; alpaca", Assert.Throws<FormatException>(() => Encoder(null, PromptStyle.Alpaca).Encode(new ChatExample(turns))).Message, StringComparison.Ordinal);
    }

    private static ExampleEncoder Encoder(NamedTemplate? template, PromptStyle style = PromptStyle.Auto) => new(Model, 4096, 512, style, template);

    private static JsonArray Turns(params (string Role, string Content)[] turns) =>
        new([.. turns.Select(turn => new JsonObject { ["role"] = turn.Role, ["content"] = turn.Content })]);
}
