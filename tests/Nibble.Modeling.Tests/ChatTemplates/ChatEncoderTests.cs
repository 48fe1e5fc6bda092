using System.Text.Json.Nodes;
using Nibble.Modeling.ChatTemplates;
using Nibble.Modeling.Tests.Tokenizers;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;

namespace Nibble.Modeling.Tests.ChatTemplates;

public class ChatEncoderTests
{
    [Fact]
    public void Whole_chats_have_the_ids_and_assistant_masks_of_transformers()
    {
        JsonNode vectors = JsonNode.Parse(File.ReadAllText(SharedFolder.Path("vectors", "sft", "chat_tokens_public.json")))!;
        int cases = 0;
        foreach (JsonNode? job in vectors["jobs"]!.AsArray())
        {
            HfTokenizer tokenizer = HfTokenizer.FromPretrained(SharedFolder.Path("vectors", (string)job!["tokenizer"]!));
            ChatTemplate template = ChatTemplate.Parse((string)job["template"]!);
            var encoder = new ChatEncoder(tokenizer, template);
            foreach (JsonNode? item in job["cases"]!.AsArray())
            {
                cases++;
                JsonArray messages = item!["messages"]!.AsArray();
                Assert.Equal(TokenizerVectorTests.Ints(item["input_ids"]), encoder.EncodeIds(messages, item["vars"] as JsonObject));
                if (template.MarksGeneration)
                {
                    bool[] mask = encoder.Encode(messages, item["vars"] as JsonObject).AssistantMask;
                    Assert.Equal(TokenizerVectorTests.Ints(item["assistant_masks"]), mask.Select(value => value ? 1 : 0));
                }
            }
        }

        Assert.Equal(63, cases);
    }

    [Fact]
    public void A_template_without_marks_is_masked_by_what_each_answer_adds_its_end_of_turn_included()
    {
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(SharedFolder.Path("vectors", "tokenizers", "qwen2"));
        ChatTemplate chatml = ChatTemplate.Parse(
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
        JsonArray messages = JsonNode.Parse("""
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "Bye"}, {"role": "assistant", "content": "So long."}]
            """)!.AsArray();
        EncodedChat chat = new ChatEncoder(tokenizer, chatml).Encode(messages);
        string learned = tokenizer.Decode(chat.Ids.Where((_, i) => chat.AssistantMask[i]), skipSpecialTokens: false);
        Assert.Equal("Hello!<|im_end|>\nSo long.<|im_end|>\n", learned);
    }
}
