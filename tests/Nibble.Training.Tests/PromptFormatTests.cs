using System.Text.Json.Nodes;
using Nibble.Data;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Training.Tests;

public class PromptFormatTests
{
    [Fact]
    public void What_is_stored_is_read_back_and_is_the_only_template_of_the_folder()
    {
        using var folder = new TempFolder();
        foreach (string file in Directory.GetFiles(SharedFolder.Path("models", "stories260K", "hf"), "tokenizer*"))
        {
            File.Copy(file, folder[Path.GetFileName(file)]);
        }

        JsonObject settings = JsonNode.Parse(File.ReadAllText(folder["tokenizer_config.json"]))!.AsObject();
        settings["chat_template"] = "another";
        File.WriteAllText(folder["tokenizer_config.json"], settings.ToJsonString());
        File.WriteAllText(folder["chat_template.json"], "{\"chat_template\": \"a third\"}");

        var format = new PromptFormat(PromptStyle.Chat, DatasetFormat.Chat, new NamedTemplate("my.jinja", "{{ 'é <' }}\r\n"));
        format.Save(folder.Path);
        Assert.Equal(format, PromptFormat.Read(folder.Path));
        Assert.Equal(format.Template!.Text, HfTokenizer.FromPretrained(folder.Path).ChatTemplate);
        Assert.False(File.Exists(folder["chat_template.json"]));
        settings.Remove("chat_template");
        Assert.True(JsonNode.DeepEquals(settings, JsonNode.Parse(File.ReadAllText(folder["tokenizer_config.json"]))));
    }

    [Fact]
    public void A_folder_that_says_nothing_has_no_format()
    {
        Assert.Null(PromptFormat.Read(SharedFolder.Path("vectors", "adapters", "lora_all_r8")));
        Assert.Null(PromptFormat.Read("/nonexistent"));
    }

    [Theory]
    [InlineData("chat_template.jinja", "other", "was changed")]
    [InlineData("chat_template.jinja", null, "is missing")]
    [InlineData("prompt_format.json", "{", "is damaged")]
    [InlineData("prompt_format.json", "null", "is damaged")]
    [InlineData("prompt_format.json", "{\"prompt_format\": \"auto\"}", "is damaged")]
    public void What_was_changed_since_is_refused(string file, string? content, string reason)
    {
        using var folder = new TempFolder();
        new PromptFormat(PromptStyle.Auto, DatasetFormat.Chat, new NamedTemplate(null, "x")).Save(folder.Path);
        File.Delete(folder[file]);
        if (content is not null)
        {
            File.WriteAllText(folder[file], content);
        }

        string message = Assert.Throws<InvalidDataException>(() => { PromptFormat.Read(folder.Path); }).Message;
        Assert.StartsWith($"{folder[file]} {reason}", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("data.chat_template=rolls", "data.chat_template is 'rolls'; it must be roles or a file that holds a chat template (Jinja).")]
    [InlineData("data.prompt_format=rolls", "'data.prompt_format' is 'rolls'; it must be one of auto, alpaca, chat.")]
    public void Unknown_names_are_named_with_the_known_ones(string setting, string message)
    {
        using var folder = new TempFolder();
        Assert.Equal(message, Assert.Throws<ArgumentException>(() => { Run(folder, setting); }).Message);
        Assert.False(File.Exists(Path.Combine(folder["out"], "run.json")));
    }

    [Fact]
    public void A_file_that_is_no_template_is_named()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["bad.jinja"], "{% if %}");
        string message = Assert.Throws<InvalidDataException>(() => { Run(folder, $"data.chat_template={folder["bad.jinja"]}"); }).Message;
        Assert.StartsWith($"{folder["bad.jinja"]} is no chat template: ", message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_run_is_not_resumed_with_another_template_not_even_under_the_same_name()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["my.jinja"], NamedTemplate.Find(NamedTemplate.Roles, "").Text);
        string[] mine = ["data.prompt_format=chat", $"data.chat_template={folder["my.jinja"]}"];
        Run(folder, mine);
        Assert.Contains(
            $"holds a run with data.chat_template \"{folder["my.jinja"]}\", not \"roles\"",
            Assert.Throws<InvalidDataException>(() => { Resume("data.prompt_format=chat", "data.chat_template=roles"); }).Message,
            StringComparison.Ordinal);
        Assert.Contains("data.prompt_format", Assert.Throws<InvalidDataException>(() => { Resume("data.prompt_format=alpaca", mine[1]); }).Message, StringComparison.Ordinal);
        Assert.Equal(3, Assert.Single(Resume(mine).Losses).Step);

        File.AppendAllText(folder["my.jinja"], "\n");
        Assert.Contains("holds a run with prompts.chat_template_sha256", Assert.Throws<InvalidDataException>(() => { Resume(mine); }).Message, StringComparison.Ordinal);

        TrainingResult Resume(params string[] settings) => Run(folder, [.. settings, "training.max_steps=3"], resume: true);
    }

    private static TrainingResult Run(TempFolder folder, params string[] settings) => Run(folder, settings, resume: false);

    private static TrainingResult Run(TempFolder folder, string[] settings, bool resume)
    {
        RunConfig config = ConfigBinder.Load(null,
        [
            $"model={SharedFolder.Path("models", "stories260K", "hf")}", "dtype=float32", $"output_dir={folder["out"]}",
            $"data.train={SharedFolder.Path("data", "alpaca", "identity.json")}", "data.max_length=256",
            "training.max_steps=2", "training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=1", .. settings,
        ]);
        return new FineTuner(config).Run(resume, TestContext.Current.CancellationToken);
    }
}
