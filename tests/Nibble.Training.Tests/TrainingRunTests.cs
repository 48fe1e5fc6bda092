using System.Text.Json.Nodes;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;
using Nibble.Tests;
using Nibble.Training.Configuration;

namespace Nibble.Training.Tests;

public class TrainingRunTests
{
    [Theory]
    [InlineData(OptimizerType.AdamwTorch, OptimizerType.PagedAdamw32bit)]
    [InlineData(OptimizerType.Adamw8bit, OptimizerType.PagedAdamw8bit)]
    public void On_the_CPU_a_paged_optimizer_gives_the_losses_of_the_other_to_the_bit(OptimizerType optimizer, OptimizerType paged)
    {
        using var folder = new TempFolder();
        Assert.Equal(Losses(optimizer), Losses(paged));

        IEnumerable<double> Losses(OptimizerType optim)
        {
            RunConfig config = Base(folder, optim.ToString(), "lora") with { Training = new TrainingSection { MaxSteps = 3, LearningRate = 1e-2, Optim = optim } };
            return [.. new FineTuner(config).Run(cancellation: TestContext.Current.CancellationToken).Losses.Select(item => item.Loss)];
        }
    }

    [Theory]
    [InlineData("lora", "adamw_torch")]
    [InlineData("qlora", "adamw_8bit")]
    [InlineData("full", "adamw_torch")]
    public void A_run_that_was_interrupted_and_resumed_has_the_same_losses_to_the_bit(string method, string optimizer)
    {
        using var folder = new TempFolder();
        RunConfig Config(string output) => Base(folder, output, method) with
        {
            Training = new TrainingSection
            {
                MaxSteps = 12,
                PerDeviceTrainBatchSize = 2,
                GradientAccumulationSteps = 2,
                LearningRate = 1e-3,
                LoggingSteps = 1,
                Optim = optimizer == "adamw_8bit" ? OptimizerType.Adamw8bit : OptimizerType.AdamwTorch,
            },
        };
        TrainingResult whole = new FineTuner(Config("whole")).Run(cancellation: TestContext.Current.CancellationToken);

        using var interruption = new CancellationTokenSource();
        var stopper = new StopAt(5, interruption);
        Assert.Throws<OperationCanceledException>(() => { new FineTuner(Config("halves"), stopper).Run(cancellation: interruption.Token); });
        new FineTuner(Config("halves")).Run(resume: true, TestContext.Current.CancellationToken);

        double[] Logged(string output) => [.. File.ReadLines(Path.Combine(folder[output], "metrics.jsonl")).Select(line => JsonNode.Parse(line)!["loss"]).Where(loss => loss is not null).Select(loss => (double)loss!)];
        Assert.Equal(whole.Losses.Select(item => item.Loss), Logged("halves"));
        string weights = method == "full" ? "model.safetensors" : "adapter_model.safetensors";
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder["whole"], weights)), File.ReadAllBytes(Path.Combine(folder["halves"], weights)));
    }

    [Fact]
    public void A_model_learns_to_stop_by_itself_and_leaves_the_files_that_people_expect()
    {
        using var folder = new TempFolder();
        File.WriteAllLines(folder["data.jsonl"], Enumerable.Repeat("{\"prompt\": \"Once\", \"completion\": \" upon a time\"}", 8));
        RunConfig config = Base(folder, "out", "lora") with
        {
            Data = new DataSection { Train = folder["data.jsonl"], Packing = false },
            // The base model was never shown its end token, so the head must learn it too.
            Lora = new LoraSection { ModulesToSave = ["lm_head"] },
            Training = new TrainingSection { MaxSteps = 60, PerDeviceTrainBatchSize = 8, GradientAccumulationSteps = 1, LearningRate = 1e-2 },
        };
        new FineTuner(config).Run(cancellation: TestContext.Current.CancellationToken);
        using DecoderModel model = ModelLoader.Load(config.Model);
        using LoraAdapter adapter = AdapterFolder.Load(model, folder["out"]);
        HfTokenizer tokenizer = HfTokenizer.FromPretrained(config.Model);
        int[] answer = TextGenerator.Generate(model, [tokenizer.Encode("Once", true)], new GenerationOptions { MaxNewTokens = 40 })[0];
        Assert.Equal(tokenizer.EosId, answer[^1]);
        Assert.True(answer.Length < 40);
        string[] expected = ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "README.md", "run.json", "metrics.jsonl", "loss.png"];
        Assert.All(expected, name => Assert.True(File.Exists(Path.Combine(folder["out"], name)), name));
        Assert.Single(Directory.GetFiles(folder["out"], "events.out.tfevents.*"));
    }

    [Fact]
    public void A_packed_sequence_gives_the_losses_of_its_examples_apart()
    {
        using DecoderModel model = ModelLoader.Load(SharedFolder.Path("models", "stories260K", "hf"));
        using TorchSharp.DisposeScope scope = TorchSharp.torch.NewDisposeScope();
        int[] first = [1, 403, 407, 261, 378];
        int[] second = [1, 317, 426, 338];
        float[] apart = [.. Losses(first), .. Losses(second)];
        float[] packed = Losses(first, second);
        Assert.All(apart.Zip(packed), pair => Assert.Equal(pair.First, pair.Second, 1e-5f));

        float[] Losses(params int[][] sequences) => model.TokenLosses(TokenBatch.Of(sequences)).data<float>().ToArray();
    }

    [Fact]
    public void A_loss_that_is_not_a_number_stops_the_run_and_names_step_and_tensor()
    {
        using var folder = new TempFolder();
        RunConfig config = Base(folder, "out", "full") with
        {
            Training = new TrainingSection { MaxSteps = 50, PerDeviceTrainBatchSize = 2, GradientAccumulationSteps = 1, LearningRate = 1e30, MaxGradNorm = 0 },
        };
        var exception = Assert.Throws<TrainingDivergedException>(() => { new FineTuner(config).Run(cancellation: TestContext.Current.CancellationToken); });
        Assert.Contains($"step {exception.Step}", exception.Message, StringComparison.Ordinal);
    }

    private static RunConfig Base(TempFolder folder, string output, string method) => new()
    {
        Model = SharedFolder.Path("models", "stories260K", "hf"),
        Method = Enum.Parse<Method>(method, ignoreCase: true),
        Dtype = "float32",
        OutputDir = folder[output],
        Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 256 },
        Lora = new LoraSection { LoraDropout = 0.1 },
    };

    private sealed class StopAt(int step, CancellationTokenSource source) : ITrainingObserver
    {
        public void Progress(int done, int totalSteps, double loss)
        {
            if (done == step)
            {
                source.Cancel();
            }
        }
    }
}
