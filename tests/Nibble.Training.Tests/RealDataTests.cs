using Nibble.Modeling.Adapters;
using Nibble.Tests;
using Nibble.Training.Configuration;

namespace Nibble.Training.Tests;

public class RealDataTests
{
    [Theory]
    [InlineData("alpaca", "gsm8k_test_alpaca.json")]
    [InlineData("alpaca", "identity.json")]
    public void QLoRA_on_real_instructions_lowers_the_evaluation_loss(params string[] file)
    {
        using var folder = new TempFolder();
        var trainer = new QLoraTrainer(
            SharedFolder.Path("models", "stories260K", "hf"),
            new QLoraConfig { Lora = new LoraConfig { TargetModules = [LoraConfig.AllLinear] } },
            new TrainingSection { MaxSteps = 20, PerDeviceTrainBatchSize = 2, GradientAccumulationSteps = 1, LearningRate = 5e-3, EvalSteps = 5, ReportSamples = 0, Optim = OptimizerType.Adamw8bit });
        var data = new DataSection { Train = SharedFolder.Path(["data", .. file]), EvalRatio = 0.05, MaxLength = 512 };
        TrainingResult result = trainer.Train(data, folder["out"], cancellation: TestContext.Current.CancellationToken);
        Assert.True(result.Evaluations[^1].EvalLoss < result.Evaluations[0].EvalLoss, string.Join(", ", result.Evaluations.Select(item => item.EvalLoss)));
    }

    [Fact]
    public void A_trainer_from_code_has_the_defaults_of_the_configuration_file()
    {
        using var folder = new TempFolder();
        var trainer = new LoraTrainer(SharedFolder.Path("models", "stories260K", "hf"), new LoraConfig(), new TrainingSection { MaxSteps = 1 });
        var data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl") };
        Assert.Equal(5 * 8 * (128 + 96 + 96 + 128), trainer.Train(data, folder["out"], cancellation: TestContext.Current.CancellationToken).TrainableParameters);
        string run = File.ReadAllText(Path.Combine(folder["out"], "run.json"));
        Assert.Contains("\"method\": \"lora\"", run, StringComparison.Ordinal);
        Assert.Contains("\"lora_dropout\": 0.05", run, StringComparison.Ordinal);
    }

    [Fact]
    public void An_output_folder_that_cannot_be_written_is_named()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["file"], "");
        var trainer = new LoraTrainer(SharedFolder.Path("models", "stories260K", "hf"), new LoraConfig());
        var data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl") };
        var exception = Assert.Throws<InvalidDataException>(() => { trainer.Train(data, Path.Combine(folder["file"], "out")); });
        Assert.Contains("not writable", exception.Message, StringComparison.Ordinal);
    }
}
