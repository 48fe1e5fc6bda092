using System.Text.Json.Nodes;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Decoder;
using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Training.Tests;

public class RunFolderTests
{
    [Theory]
    [InlineData("data.train=/nonexistent", "/nonexistent does not exist")]
    [InlineData("model=/nonexistent", "not a folder")]
    [InlineData("lora.target_modules=[foo]", "target_modules names 'foo'")]
    [InlineData("lora.layers_to_transform=[0, 77]", "names layer 77, but this model has layers 0 to 4")]
    [InlineData("lora.modules_to_save=[foo]", "modules_to_save names 'foo'")]
    [InlineData("lora.init_adapter=/nonexistent", "adapter_config.json does not exist")]
    [InlineData("data.eval_ratio=0.9999", "none is left to train on")]
    public void A_run_that_cannot_begin_leaves_the_folder_free_for_the_next(string mistake, string part)
    {
        using var folder = new TempFolder();
        Exception error = Assert.ThrowsAny<Exception>(() => { Run(folder, mistake); });
        Assert.Contains(part, error.Message, StringComparison.Ordinal);
        Run(folder);
    }

    [Theory]
    [InlineData("README.md")]
    [InlineData("model.safetensors")]
    [InlineData("tokenizer.json")]
    public void Files_of_no_run_are_not_overwritten(string name)
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["out"]);
        File.WriteAllText(Path.Combine(folder["out"], name), "mine");
        Assert.Contains(name, Assert.Throws<InvalidDataException>(() => { Run(folder); }).Message, StringComparison.Ordinal);
        Assert.Equal("mine", File.ReadAllText(Path.Combine(folder["out"], name)));
    }

    [Theory]
    [InlineData("seed=7", "seed 42, not 7")]
    [InlineData("lora.r=4", "lora.r 8, not 4")]
    [InlineData("training.learning_rate=1", "training.learning_rate")]
    [InlineData("method=full", "method")]
    public void Another_configuration_does_not_resume_a_run(string change, string part)
    {
        using var folder = new TempFolder();
        Run(folder);
        Exception error = Assert.Throws<InvalidDataException>(() => { Run(folder, change, resume: true); });
        Assert.Contains(part, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_finished_run_resumes_to_what_it_was_and_goes_on_when_given_more_steps()
    {
        using var folder = new TempFolder();
        TrainingResult first = Run(folder);
        byte[] weights = Weights();
        TrainingResult again = Run(folder, "training.logging_steps=1", resume: true);
        Assert.Empty(again.Losses);
        Assert.Equal((first.FinalLoss, first.FinalEvalLoss), (again.FinalLoss, again.FinalEvalLoss));
        Assert.Equal(weights, Weights());
        JsonNode results = JsonNode.Parse(File.ReadAllText(Path.Combine(folder["out"], "run.json")))!["results"]!;
        Assert.Equal(first.FinalLoss, (double?)results["final_loss"]);
        Assert.Contains("final evaluation loss", File.ReadAllText(Path.Combine(folder["out"], "README.md")), StringComparison.Ordinal);
        Assert.Equal([5, 6], Run(folder, "training.max_steps=6", resume: true).Losses.Select(loss => loss.Step));

        byte[] Weights() => File.ReadAllBytes(Path.Combine(folder["out"], "adapter_model.safetensors"));
    }

    [Theory]
    [InlineData("adapter_model.safetensors", 100)]
    [InlineData("optimizer.safetensors", 100)]
    [InlineData("trainer_state.json", 20)]
    [InlineData("trainer_state.json", 0)]
    public void A_damaged_checkpoint_is_named_and_the_one_before_it_serves(string file, int length)
    {
        using var folder = new TempFolder();
        Run(folder, "training.save_steps=2");
        string checkpoint = Path.Combine(folder["out"], "checkpoint-4");
        using (FileStream stream = File.OpenWrite(Path.Combine(checkpoint, file)))
        {
            stream.SetLength(length);
        }

        Exception error = Assert.Throws<InvalidDataException>(() => { Run(folder, resume: true); });
        Assert.Contains("checkpoint-4 is damaged; delete it", error.Message, StringComparison.Ordinal);
        Assert.Contains(file, error.Message, StringComparison.Ordinal);
        Directory.Delete(checkpoint, recursive: true);
        Assert.Equal([3, 4], Run(folder, resume: true).Losses.Select(loss => loss.Step));
    }

    [Fact]
    public void A_checkpoint_of_an_adapter_is_an_adapter()
    {
        using var folder = new TempFolder();
        Run(folder, "training.save_steps=2");
        using DecoderModel model = ModelLoader.Load(SharedFolder.Path("models", "stories260K", "hf"));
        Assert.Equal(Weights(folder["out"]), Weights(Path.Combine(folder["out"], "checkpoint-4")));
        Assert.NotEqual(Weights(folder["out"]), Weights(Path.Combine(folder["out"], "checkpoint-2")));
        Assert.Equal(PromptFormat.Read(folder["out"]), PromptFormat.Read(Path.Combine(folder["out"], "checkpoint-2")));

        float[] Weights(string adapterFolder)
        {
            using LoraAdapter adapter = AdapterFolder.Load(model, adapterFolder);
            return [.. adapter.Parameters.OrderBy(parameter => parameter.Name, StringComparer.Ordinal).SelectMany(parameter => parameter.Value.detach().data<float>().ToArray())];
        }
    }

    [Fact]
    public void What_a_killed_process_left_half_written_is_removed_on_resuming()
    {
        using var folder = new TempFolder();
        Run(folder);
        Directory.CreateDirectory(Path.Combine(folder["out"], ".checkpoint-3.tmp"));
        File.WriteAllText(Path.Combine(folder["out"], "best.safetensors.0123.tmp"), "");
        Run(folder, resume: true);
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder["out"], "*.tmp"));
    }

    [Fact]
    public void A_checkpoint_that_a_killed_process_was_about_to_replace_is_put_back_unless_the_new_one_is_whole()
    {
        using var folder = new TempFolder();
        Run(folder, "training.save_steps=2");
        string whole = Path.Combine(folder["out"], "checkpoint-4");
        string replaced = Path.Combine(folder["out"], ".checkpoint-4.replaced");
        Directory.Move(whole, replaced);
        Directory.CreateDirectory(Path.Combine(folder["out"], ".checkpoint-4.tmp"));
        Assert.Empty(Run(folder, resume: true).Losses);
        Assert.True(Directory.Exists(whole));

        Directory.CreateDirectory(replaced);
        Assert.Empty(Run(folder, resume: true).Losses);
        Assert.Equal(["checkpoint-2", "checkpoint-4"], Directory.EnumerateDirectories(folder["out"]).Select(Path.GetFileName).Order());
    }

    [Theory]
    [InlineData("{\"input_ids\": [1, 600], \"labels\": [1, 2]}", "has token 600, but the model's vocabulary has 512")]
    [InlineData("{\"input_ids\": [1, 2], \"labels\": [1, 600]}", "has label 600; expected -100")]
    [InlineData("{\"input_ids\": [1, 2], \"labels\": [1, -1]}", "has label -1; expected -100")]
    public void A_record_that_does_not_fit_the_model_is_named_by_its_line(string record, string part)
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["data.jsonl"], "{\"input_ids\": [1, 2], \"labels\": [1, 2]}\n\n" + record);
        Exception error = Assert.Throws<InvalidDataException>(() => { Run(folder, $"data.train={folder["data.jsonl"]}"); });
        Assert.Contains($"data.jsonl:3: {part}", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Trainers_have_the_defaults_of_peft_and_resume()
    {
        var lora = new LoraConfig();
        Assert.Equal((8, 16.0, 0.05, "none", false), (lora.R, lora.LoraAlpha, lora.LoraDropout, lora.Bias, lora.UseRslora));
        Assert.Equal(["q_proj", "k_proj", "v_proj", "o_proj"], lora.TargetModules);
        var qlora = new QLoraConfig();
        Assert.Equal((lora, "nf4", true, "bfloat16"), (qlora.Lora with { TargetModules = lora.TargetModules, ModulesToSave = lora.ModulesToSave }, qlora.QuantType, qlora.UseDoubleQuant, qlora.ComputeDtype));

        using var folder = new TempFolder();
        var data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 256 };
        QLoraTrainer Trainer(int steps) => new(SharedFolder.Path("models", "stories260K", "hf"), qlora, new TrainingSection { MaxSteps = steps, SaveSteps = 2, PerDeviceTrainBatchSize = 1, GradientAccumulationSteps = 1 });
        Trainer(2).Train(data, folder["out"]);
        Assert.Equal(3, Assert.Single(Trainer(3).Train(data, folder["out"], resume: true).Losses).Step);
    }

    private static TrainingResult Run(TempFolder folder, string? change = null, bool resume = false)
    {
        RunConfig config = ConfigBinder.Load(null,
        [
            $"model={SharedFolder.Path("models", "stories260K", "hf")}", "dtype=float32", $"output_dir={folder["out"]}",
            $"data.train={SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl")}", "data.max_length=128", "data.eval_ratio=0.2",
            "training.max_steps=4", "training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=1", "training.report_samples=0",
            .. change is null ? Array.Empty<string>() : [change],
        ]);
        return new FineTuner(config).Run(resume, TestContext.Current.CancellationToken);
    }
}
