using System.Text.Json.Nodes;
using Nibble.Data;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Training.Tests;

public class TunerTests
{
    private static readonly TrainingSection Short = new() { MaxSteps = 8, PerDeviceTrainBatchSize = 4, GradientAccumulationSteps = 1, LearningRate = 5e-3, EvalSteps = 4, ReportSamples = 0 };

    private static string Model => SharedFolder.Path("models", "stories260K", "hf");

    private static DataSection Chats => new() { Train = SharedFolder.Path("data", "chat", "oasst_en_100_openai_messages.jsonl"), EvalRatio = 0.1 };

    private static DataSection Instructions => new() { Train = SharedFolder.Path("data", "alpaca", "identity.json"), EvalRatio = 0.1 };

    [Fact]
    public void Defaults_are_those_of_the_guide()
    {
        var config = new InstructionTuningConfig();
        Assert.Equal((true, 16, 32.0, 2048), (config.UseLora, config.LoraR, config.LoraAlpha, config.MaxLength));
        Assert.Equal((PromptStyle.Chat, NamedTemplate.Roles, false), (config.PromptFormat, config.ChatTemplate, config.LoadIn4bit));
        Assert.Null(new TuningConfig().ChatTemplate);
    }

    [Fact]
    public void Instructions_are_learned_in_the_roles_layout_which_is_stored_with_the_adapter()
    {
        using var folder = new TempFolder();
        TrainingResult result = new InstructionTuner(Model, training: Short).Train(Instructions, folder["out"], cancellation: TestContext.Current.CancellationToken);
        Assert.True(result.FinalEvalLoss < result.Evaluations[0].EvalLoss);
        Assert.Equal(2 * 5 * 8 * (128 + 96 + 96 + 128), result.TrainableParameters);
        Assert.Equal(new PromptFormat(PromptStyle.Chat, DatasetFormat.Chat, NamedTemplate.Find(NamedTemplate.Roles, "")), PromptFormat.Read(folder["out"]));
        Assert.Equal(NamedTemplate.Find(NamedTemplate.Roles, "").Text, HfTokenizer.FromPretrained(folder["out"]).ChatTemplate);
        Assert.Contains("| trained on | chats by template roles (sha256 ", File.ReadAllText(Path.Combine(folder["out"], "README.md")), StringComparison.Ordinal);
    }

    [Fact]
    public void Chats_are_learned_in_the_models_own_template_over_four_bits()
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["model"]);
        foreach (string file in Directory.GetFiles(Model))
        {
            File.Copy(file, Path.Combine(folder["model"], Path.GetFileName(file)));
        }

        string settings = Path.Combine(folder["model"], "tokenizer_config.json");
        JsonNode json = JsonNode.Parse(File.ReadAllText(settings))!;
        json["chat_template"] = Template("zephyr");
        File.WriteAllText(settings, json.ToJsonString());
        var config = new TuningConfig { LoadIn4bit = true, MaxLength = 512 };
        TrainingResult result = new ChatTuner(folder["model"], config, Short).Train(Chats, folder["out"], cancellation: TestContext.Current.CancellationToken);
        Assert.True(result.FinalEvalLoss < result.Evaluations[0].EvalLoss);
        Assert.Equal(new PromptFormat(PromptStyle.Auto, DatasetFormat.Chat, new NamedTemplate(null, Template("zephyr"))), PromptFormat.Read(folder["out"]));
        Assert.Null(JsonNode.Parse(File.ReadAllText(Path.Combine(folder["out"], "tokenizer_config.json")))!["chat_template"]);
    }

    [Fact]
    public void Without_LoRA_all_weights_learn_and_the_model_keeps_the_template()
    {
        using var folder = new TempFolder();
        var config = new TuningConfig { UseLora = false, ChatTemplate = NamedTemplate.Roles, MaxLength = 512 };
        TrainingResult result = new ChatTuner(Model, config, Short).Train(Chats, folder["out"], cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(result.TotalParameters, result.TrainableParameters);
        Assert.Equal(NamedTemplate.Roles, PromptFormat.Read(folder["out"])?.Template?.Name);
        Assert.True(File.Exists(Path.Combine(folder["out"], "model.safetensors")));
        Assert.Contains("load_in_4bit needs use_lora", Assert.Throws<ArgumentException>(
            () => { new ChatTuner(Model, config with { LoadIn4bit = true }).Train(Chats, folder["none"]); }).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_full_finetuner_has_the_guides_defaults_and_trains_as_a_configuration_does()
    {
        var defaults = new FullFinetuneConfig();
        Assert.Equal((2e-5, 3.0, 4, 8), (defaults.LearningRate, defaults.NumTrainEpochs, defaults.PerDeviceTrainBatchSize, defaults.GradientAccumulationSteps));
        Assert.Equal((0.03, 0.01, 1.0, true, "bfloat16"), (defaults.WarmupRatio, defaults.WeightDecay, defaults.MaxGradNorm, defaults.GradientCheckpointing, defaults.ComputeDtype));

        using var folder = new TempFolder();
        var data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "full", "train.jsonl"), MaxLength = 256 };
        TrainingResult result = new FullFinetuner(Model, defaults with { MaxSteps = 3 }).Train(data, folder["trainer"], cancellation: TestContext.Current.CancellationToken);
        var training = new TrainingSection { MaxSteps = 3, LearningRate = 2e-5, GradientAccumulationSteps = 8 };
        TrainingResult expected = new FineTuner(new RunConfig { Model = Model, Method = Method.Full, OutputDir = folder["config"], Data = data, Training = training })
            .Run(cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(expected.Losses, result.Losses);
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder["config"], "model.safetensors")), File.ReadAllBytes(Path.Combine(folder["trainer"], "model.safetensors")));
    }

    [Theory]
    [InlineData("deepseek-r1-distill", 1, "'ssistant｜><think>\\n</think>' becomes 'ssistant｜>The first step is to'")]
    [InlineData("phi-3", 2, "'.<|end|>\\n</s>' becomes '.<|end|>\\n<|user|>\\nAre blue lig'")]
    [InlineData("qwen3.6", 2, "'assistant\\n<think>\\n' becomes 'assistant\\nYour eyes are not de'")]
    public void A_template_that_is_not_stable_under_going_on_is_refused_with_line_and_reason_before_anything_is_trained(string template, int line, string reason)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["unstable.jinja"], Template(template));
        var tuner = new ChatTuner(Model, new TuningConfig { ChatTemplate = folder["unstable.jinja"] });
        string message = Assert.Throws<InvalidDataException>(() => { tuner.Train(Chats, folder["out"]); }).Message;
        Assert.StartsWith($"{Chats.Train}:{line}: this chat template does not keep what it wrote when the conversation goes on ({reason})", message, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder["out"]));
    }

    [Fact]
    public void Files_of_another_kind_are_refused_by_the_tuner_that_they_are_not_for()
    {
        using var folder = new TempFolder();
        Assert.Equal(
            $"{Instructions.Train} holds alpaca records; ChatTuner takes conversations, InstructionTuner instructions.",
            Assert.Throws<InvalidDataException>(() => { new ChatTuner(Model).Train(Instructions, folder["out"]); }).Message);
        Assert.Equal(
            $"{Chats.Train} holds chat records; InstructionTuner takes instruction/output or prompt/completion, ChatTuner conversations.",
            Assert.Throws<InvalidDataException>(() => { new InstructionTuner(Model).Train(Instructions with { Eval = Chats.Train }, folder["out"]); }).Message);
        Assert.False(Directory.Exists(folder["out"]));
    }

    private static string Template(string id) => (string)JsonNode.Parse(File.ReadAllText(SharedFolder.Path("vectors", "chat_templates", "chat_vectors.json")))!["templates"]!
        .AsArray().Single(template => (string?)template!["id"] == id)!["template"]!;
}
