using System.Text.Json.Nodes;
using Nibble.Tests;

namespace Nibble.Cli.Tests;

/// <summary>Prompts in training and afterwards, as users of the program meet them.</summary>
[Collection("nibble")]
public class PromptFormatTests : NibbleProgram
{
    private const string Question = "[{\"role\": \"user\", \"content\": \"Who was Lily?\"}]";

    private static string Model => SharedFolder.Path("models", "stories260K", "hf");

    private static string Chats => SharedFolder.Path("data", "chat", "oasst_en_100_openai_messages.jsonl");

    private static string Instructions => SharedFolder.Path("data", "alpaca", "identity.json");

    [Fact]
    public void An_adapter_trained_on_chats_is_asked_in_its_own_template_and_in_no_other()
    {
        using var folder = new TempFolder();
        string adapter = Train(folder, "chat", Chats, "data.chat_template=roles");
        File.WriteAllText(folder["m.json"], Question);
        File.WriteAllText(folder["other.jinja"], "{% for m in messages %}{{ m.content }}{% endfor %}");
        File.Copy(Path.Combine(adapter, "chat_template.jinja"), folder["same.jinja"]);

        Result messages = Generate(adapter, "--messages", folder["m.json"]);
        Assert.Equal((0, ""), (messages.Code, messages.Error));
        string written = Generate(null, "--prompt", "<|user|>\nWho was Lily?\n<|assistant|>\n").Output;
        Assert.NotEqual(Ids(written), Ids(messages.Output)); // The adapter makes the difference,
        Assert.Equal(Ids(messages.Output), Ids(Generate(adapter, "--prompt", "<|user|>\nWho was Lily?\n<|assistant|>\n").Output)); // and the template none.
        Assert.Equal(messages.Output, Generate(adapter, "--instruction", "Who was Lily?").Output);
        Assert.Equal(messages.Output, Generate(adapter, "--messages", folder["m.json"], "--chat-template", "roles").Output);
        Assert.Equal(messages.Output, Generate(adapter, "--messages", folder["m.json"], "--chat-template", folder["same.jinja"]).Output);

        string hash = Hash(Path.Combine(adapter, "chat_template.jinja"));
        string refusal = $"nibble: {adapter} was trained with template roles (sha256 {hash}), not with template {folder["other.jinja"]} (sha256 {Hash(folder["other.jinja"])}); leave --chat-template out.";
        Result refused = Generate(adapter, "--messages", folder["m.json"], "--chat-template", folder["other.jinja"]);
        Assert.Equal((2, "", refusal), (refused.Code, refused.Output, refused.Error.Trim()));
        refused = Eval(adapter, Chats, "--chat-template", folder["other.jinja"]);
        Assert.Equal((2, "", refusal), (refused.Code, refused.Output, refused.Error.Trim()));

        Result plain = Generate(adapter, "--prompt", "Once");
        Assert.Equal(
            (0, $"warning: {adapter} was trained on chats by template roles (sha256 {hash}), but --prompt gives prompts as they stand; --instruction or --messages writes such a prompt."),
            (plain.Code, plain.Error.Trim()));

        File.WriteAllText(Path.Combine(adapter, "chat_template.jinja"), "{{ 'edited' }}");
        Result edited = Generate(adapter, "--messages", folder["m.json"]);
        Assert.Equal(1, edited.Code);
        Assert.Contains("chat_template.jinja was changed: prompt_format.json names a template with sha256", edited.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Evaluation_writes_records_as_they_were_trained_and_warns_of_other_kinds()
    {
        using var folder = new TempFolder();
        string chat = Train(folder, "chat", Chats, "data.chat_template=roles");
        string asChats = Train(folder, "instructions", Instructions, "data.prompt_format=chat", "data.chat_template=roles");
        string alpaca = Train(folder, "alpaca", Instructions);

        Assert.DoesNotContain("warning", Eval(chat, Chats).Error, StringComparison.Ordinal);
        Result unlike = Eval(chat, Instructions);
        Assert.Equal(
            $"warning: {chat} was trained on chats by template roles (sha256 {Hash(Path.Combine(chat, "chat_template.jinja"))}), but the records of {Instructions} become Alpaca prompts; --prompt-format chat may turn them into such.",
            unlike.Error.Split('\n')[0]);
        Result turned = Eval(chat, Instructions, "--prompt-format", "chat");
        Assert.DoesNotContain("warning", turned.Error, StringComparison.Ordinal);
        Assert.NotEqual(unlike.Output, turned.Output);

        Result likeTraining = Eval(asChats, Instructions, "--out", folder["eval"]);
        Assert.DoesNotContain("warning", likeTraining.Error, StringComparison.Ordinal);
        Assert.NotEqual(likeTraining.Output, Eval(asChats, Instructions, "--prompt-format", "alpaca").Output);
        Assert.Contains("holds an evaluation of something else", Eval(asChats, Instructions, "--out", folder["eval"], "--resume", "--prompt-format", "alpaca").Error, StringComparison.Ordinal);
        Assert.Equal(Eval(alpaca, Instructions).Output, Eval(alpaca, Instructions, "--prompt-format", "alpaca").Output);
        Assert.Contains("was trained on Alpaca prompts, but the records of", Eval(alpaca, Chats, "--chat-template", "roles").Error, StringComparison.Ordinal);
    }

    [Fact]
    public void An_instruction_is_written_as_those_of_the_training()
    {
        using var folder = new TempFolder();
        string alpaca = Train(folder, "alpaca", Instructions);
        Result asked = Generate(alpaca, "--instruction", "Who was Lily?", "--input", "Lily was a girl.", "--system", "Be brief.");
        Assert.Equal((0, ""), (asked.Code, asked.Error));
        Assert.Equal(asked.Output, Generate(alpaca, "--prompt", "Be brief.\n\n### Instruction:\nWho was Lily?\n\n### Input:\nLily was a girl.\n\n### Response:\n").Output);
        Assert.Contains(
            $"warning: {alpaca} was trained on Alpaca prompts, but --prompt-format gives chats.",
            Generate(alpaca, "--instruction", "x", "--prompt-format", "chat", "--chat-template", "roles").Error,
            StringComparison.Ordinal);

        Result unknown = Generate(null, "--instruction", "Who was Lily?");
        Assert.Equal(
            (2, $"nibble: {Model} does not say on which prompts it was trained, so --instruction needs --prompt-format alpaca or chat."),
            (unknown.Code, unknown.Error.Trim()));
        Assert.Equal(0, Generate(null, "--instruction", "x", "--prompt-format", "alpaca").Code);
    }

    [Fact]
    public void Merged_and_quantised_models_keep_the_format_and_adapters_of_PEFT_are_used_as_ever()
    {
        using var folder = new TempFolder();
        string adapter = Train(folder, "chat", Chats, "data.chat_template=roles");
        File.WriteAllText(folder["m.json"], Question);
        File.WriteAllText(folder["other.jinja"], "{{ messages[0].content }}");
        Assert.Equal(0, Nibble("merge", "--model", Model, "--adapter", adapter, "--out", folder["merged"]).Code);
        Assert.Equal(0, Nibble("quantize", "--model", folder["merged"], "--out", folder["nf4"]).Code);
        foreach (string model in new[] { folder["merged"], folder["nf4"] })
        {
            foreach (string file in new[] { "prompt_format.json", "chat_template.jinja" })
            {
                Assert.Equal(File.ReadAllText(Path.Combine(adapter, file)), File.ReadAllText(Path.Combine(model, file)));
            }

            Assert.Equal(2, Nibble("generate", "--model", model, "--messages", folder["m.json"], "--chat-template", folder["other.jinja"]).Code);
        }

        Assert.Equal(Generate(adapter, "--messages", folder["m.json"]).Output, Nibble("generate", "--model", folder["merged"], "--device", "cpu", "--max-new-tokens", "8", "--json", "--messages", folder["m.json"]).Output);

        string peft = SharedFolder.Path("vectors", "adapters", "lora_all_r8");
        Result foreign = Generate(peft, "--messages", folder["m.json"], "--chat-template", folder["other.jinja"]);
        Assert.Equal((0, ""), (foreign.Code, foreign.Error));
        Assert.Equal("", Generate(peft, "--prompt", "Who was Lily?").Error);
    }

    [Fact]
    public void A_dry_run_and_a_preview_show_the_layout_with_its_loss_mask()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["a.jsonl"], "{\"instruction\":\"Say hi.\",\"input\":\"\",\"output\":\"hi to you\"}\n");
        Result dryRun = Nibble(
            "train", "--dry-run", "--set", $"model={Model}", "--set", $"data.train={folder["a.jsonl"]}", "--set", "data.prompt_format=chat", "--set", "data.chat_template=roles");
        Assert.Contains("<|user|>\nSay hi.\n<|assistant|>\n[[hi to you</s>]]", dryRun.Output, StringComparison.Ordinal);
        Assert.Contains("Prompts are chats by template roles (sha256 ", dryRun.Output, StringComparison.Ordinal);

        string[] layout = ["--model", Model, "--prompt-format", "chat", "--chat-template", "roles"];
        string preview = Nibble(["data", "preview", folder["a.jsonl"], .. layout]).Output;
        Assert.Contains("|>|\u21B5\n|[[h|i| to| you|</s>]]", preview, StringComparison.Ordinal);
        JsonNode stats = JsonNode.Parse(Nibble(["data", "stats", folder["a.jsonl"], .. layout, "--json"]).Output)!;
        Assert.Equal((int)JsonNode.Parse(Nibble(["data", "preview", folder["a.jsonl"], .. layout, "--json"]).Output)!["examples"]![0]!["length"]!, (int)stats["tokens"]!["max"]!);
        Assert.Equal(0, Nibble(["data", "validate", folder["a.jsonl"], .. layout]).Code);
    }

    [Theory]
    [InlineData(2, "--chat-template is 'rolls'; it must be roles or a file that holds a chat template (Jinja)", "eval", "--model", "m", "--data", "d", "--chat-template", "rolls")]
    [InlineData(2, "'auto' 'alpaca' 'chat'", "eval", "--model", "m", "--data", "d", "--prompt-format", "rolls")]
    [InlineData(2, "--input and --system need --instruction", "generate", "--model", "m", "--prompt", "x", "--system", "y")]
    [InlineData(2, "one of --prompt, --messages, --instruction and --input-ids", "generate", "--model", "m", "--prompt", "x", "--instruction", "y")]
    [InlineData(2, "--prompt-format and --chat-template need --model", "data", "stats", "x.jsonl", "--chat-template", "roles")]
    public void Wrong_use_is_one_line(int code, string part, params string[] arguments)
    {
        Result result = Nibble(arguments);
        Assert.Equal((code, ""), (result.Code, result.Output));
        Assert.Contains(part, Assert.Single(result.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries)), StringComparison.Ordinal);
    }

    private static string Train(TempFolder folder, string name, string data, params string[] settings)
    {
        string[] all =
        [
            $"model={Model}", "dtype=float32", $"output_dir={folder[name]}", $"data.train={data}", "data.max_length=256", "training.max_steps=4",
            "training.per_device_train_batch_size=2", "training.gradient_accumulation_steps=1", "training.learning_rate=0.005", .. settings,
        ];
        Result result = Nibble(["train", .. all.SelectMany(setting => new[] { "--set", setting })]);
        Assert.True(result.Code == 0, result.Error);
        return folder[name];
    }

    private static Result Generate(string? adapter, params string[] prompt) => Nibble(
        ["generate", "--model", Model, .. adapter is null ? Array.Empty<string>() : ["--adapter", adapter], "--device", "cpu", "--max-new-tokens", "8", "--json", .. prompt]);

    private static Result Eval(string adapter, string data, params string[] options) => Nibble(
        ["eval", "--model", Model, "--adapter", adapter, "--data", data, "--device", "cpu", "--json", .. options]);

    private static string Ids(string json) => JsonNode.Parse(json)!["ids"]!.ToJsonString();

    private static string Hash(string file) => Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(file)))[..12];
}
