using System.Text.Json.Nodes;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Modeling.ChatTemplates;

/// <summary>A conversation as tokens.</summary>
/// <param name="Ids">The tokens.</param>
/// <param name="AssistantMask">Which of them the assistant says, its end-of-turn tokens included.</param>
public sealed record EncodedChat(int[] Ids, bool[] AssistantMask);

/// <summary>Turns conversations into tokens for training.</summary>
public sealed class ChatEncoder
{
    private readonly HfTokenizer tokenizer;
    private readonly ChatTemplate template;

    /// <summary>Encodes with a tokenizer and a template; the template writes the special tokens itself.</summary>
    public ChatEncoder(HfTokenizer tokenizer, ChatTemplate template)
    {
        ArgumentNullException.ThrowIfNull(tokenizer);
        ArgumentNullException.ThrowIfNull(template);
        this.tokenizer = tokenizer;
        this.template = template;
    }

    /// <summary>The tokens of a conversation, and which are the assistant's.</summary>
    /// <param name="messages">Objects with role and content.</param>
    /// <param name="variables">What else the template reads.</param>
    /// <exception cref="ChatTemplateException">The template refused the messages, or does not let the assistant's part be told apart.</exception>
    public EncodedChat Encode(JsonArray messages, JsonObject? variables = null)
    {
        ArgumentNullException.ThrowIfNull(messages);
        JsonObject all = Variables(variables);
        RenderedChat rendered = template.Render(messages, all);
        IReadOnlyList<(int Start, int End)> spans = template.MarksGeneration ? rendered.GenerationSpans : SpansByPrefix(messages, all, rendered.Text);
        List<TokenSpan> tokens = tokenizer.EncodeWithOffsets(rendered.Text, addSpecialTokens: false, likeTransformers: true);
        // As in transformers: from the token that holds a span's first character to the one that holds its last.
        bool[] mask = [.. tokens.Select(token => spans.Any(span => token.End > span.Start && token.Start < span.End))];
        return new EncodedChat([.. tokens.Select(token => token.Id)], mask);
    }

    /// <summary>The tokens of a conversation alone; with <c>add_generation_prompt</c>, those after which the assistant answers.</summary>
    public int[] EncodeIds(JsonArray messages, JsonObject? variables = null) =>
        [.. tokenizer.EncodeWithOffsets(template.Render(messages, Variables(variables)).Text, addSpecialTokens: false, likeTransformers: true).Select(token => token.Id)];

    private JsonObject Variables(JsonObject? given)
    {
        JsonObject all = given?.DeepClone().AsObject() ?? [];
        foreach ((string name, int? id) in new[] { ("bos_token", tokenizer.BosId), ("eos_token", tokenizer.EosId), ("pad_token", tokenizer.PadId), ("unk_token", tokenizer.UnkId) })
        {
            if (id is { } token)
            {
                all.TryAdd(name, tokenizer.IdToToken(token));
            }
        }

        all.TryAdd("tools", null);
        all.TryAdd("documents", null);
        all.TryAdd("add_generation_prompt", false);
        return all;
    }

    /// <summary>
    /// For templates without marks: what an assistant's turn adds to the conversation before it, its generation prompt left
    /// out. Works only where a longer conversation's text begins with the shorter one's.
    /// </summary>
    private List<(int Start, int End)> SpansByPrefix(JsonArray messages, JsonObject variables, string text)
    {
        var spans = new List<(int, int)>();
        for (int i = 0; i < messages.Count; i++)
        {
            if ((string?)messages[i]!["role"] != "assistant")
            {
                continue;
            }

            string before = i == 0 ? "" : Prefix(messages, i, variables, prompt: true);
            string after = i + 1 == messages.Count ? text : Prefix(messages, i + 1, variables, prompt: false);
            if ((Change(before, text) ?? Change(after, text)) is { } change)
            {
                throw new ChatTemplateException(
                    $"this chat template does not keep what it wrote when the conversation goes on ({change}), so the assistant's part of message {i + 1} cannot be told; add {{% generation %}} marks to the template, or choose another");
            }

            spans.Add((before.Length, after.Length));
        }

        return spans;
    }

    /// <summary>How a text goes on where it leaves a shorter one, which should be its beginning; null where it is.</summary>
    private static string? Change(string shorter, string text)
    {
        int same = shorter.AsSpan().CommonPrefixLength(text);
        return same == shorter.Length ? null : $"{Excerpt(shorter, same)} becomes {Excerpt(text, same)}";
    }

    private static string Excerpt(string text, int position)
    {
        const int Before = 10;
        const int After = 20;
        (int start, int end) = (Math.Max(0, position - Before), Math.Min(text.Length, position + After));
        return $"'{text[start..end]}'".ReplaceLineEndings("\\n");
    }

    private string Prefix(JsonArray messages, int count, JsonObject variables, bool prompt)
    {
        JsonObject own = variables.DeepClone().AsObject();
        own["add_generation_prompt"] = prompt;
        return template.Render([.. messages.Take(count).Select(message => message!.DeepClone())], own).Text;
    }
}
