using System.Text.Json.Nodes;
using Nibble.Modeling.Checkpoints;
using Nibble.Tests;
using Nibble.Training.Configuration;
using TorchSharp;

namespace Nibble.Training.Tests;

/// <summary>Runs of transformers, PEFT and bitsandbytes, repeated from a configuration file.</summary>
public class ReferenceRunTests
{
    [Theory]
    [InlineData("lora")]
    [InlineData("qlora")]
    [InlineData("full")]
    public void Short_runs_match_the_peers_in_every_loss_gradient_norm_and_final_weight(string method)
    {
        string folder = SharedFolder.Path("vectors", "training", "short", method);
        JsonNode expected = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "expected.json")))!;
        JsonNode hyper = expected["hyper_parameters"]!;
        using var output = new TempFolder();
        RunConfig config = Config(
            output,
            $"method: {method}\nlora: {{lora_dropout: 0.0, init_adapter: {(method == "full" ? "null" : Path.Combine(folder, "initial_adapter"))}}}",
            Path.Combine(folder, "train.jsonl"),
            (double)hyper["lr"]!, (double)hyper["wd"]!, (int)hyper["warmup"]!, (int)hyper["steps"]!);
        JsonArray steps = expected["steps"]!.AsArray();
        AssertRun(config, output, steps);
        AssertWeights(
            output,
            method == "full" ? Path.Combine(folder, "final", "model.safetensors") : Path.Combine(folder, "final_adapter", "adapter_model.safetensors"));
    }

    [Theory]
    [InlineData("lora_r8_cosine", "lora", "adapter_final/adapter_model.safetensors")]
    [InlineData("full_ft", "full", "model_final/model.safetensors")]
    public void Long_runs_match_the_peers_in_every_loss_gradient_norm_final_weight_and_evaluation(string name, string method, string final)
    {
        string folder = SharedFolder.Path("vectors", "training", "long", name);
        JsonNode expected = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "trace.json")))!;
        JsonNode hyper = expected["config"]!;
        JsonNode data = JsonNode.Parse(File.ReadAllText(SharedFolder.Path("vectors", "training", "long", "train_data.json")))!;
        using var output = new TempFolder();
        foreach (string side in new[] { "train", "eval" })
        {
            File.WriteAllLines(output[$"{side}.jsonl"], data[side]!.AsArray().Select(record => record!.ToJsonString()));
        }

        RunConfig config = Config(
            output,
            $"method: {method}\nlora: {{lora_dropout: 0.0, init_adapter: {(method == "full" ? "null" : Path.Combine(folder, "adapter_init"))}}}",
            output["train.jsonl"],
            (double)hyper["lr"]!, (double)hyper["wd"]!, (int)hyper["warm"]!, (int)hyper["steps"]!);
        config = config with { Data = config.Data with { Eval = output["eval.jsonl"] }, Training = config.Training with { EvalSteps = 30 } };
        TrainingResult result = AssertRun(config, output, expected["log"]!.AsArray());
        AssertWeights(output, Path.Combine(folder, final));
        Assert.Equal((double)expected["eval_mean_nll_after"]!, result.Evaluations[^1].EvalLoss, 2e-4 * 4);
    }

    private static RunConfig Config(TempFolder output, string methodAndLora, string train, double lr, double decay, int warmup, int steps)
    {
        File.WriteAllText(output["run.yaml"], $$"""
            model: {{SharedFolder.Path("models", "stories260K", "hf")}}
            {{methodAndLora}}
            dtype: float32
            output_dir: {{output["out"]}}
            data: {train: {{train}}, packing: false, shuffle: false}
            quantization: {bnb_4bit_compute_dtype: float32}
            training: {max_steps: {{steps}}, per_device_train_batch_size: 4, gradient_accumulation_steps: 2, learning_rate: {{lr}},
                       weight_decay: {{decay}}, warmup_steps: {{warmup}}, lr_scheduler_type: cosine, logging_steps: 1}
            """);
        return ConfigBinder.Load(output["run.yaml"], []);
    }

    private static TrainingResult AssertRun(RunConfig config, TempFolder output, JsonArray steps)
    {
        TrainingResult result = new FineTuner(config).Run(cancellation: TestContext.Current.CancellationToken);
        JsonNode[] log = [.. File.ReadLines(Path.Combine(output["out"], "metrics.jsonl")).Select(line => JsonNode.Parse(line)!).Where(line => line["loss"] is not null)];
        Assert.Equal(steps.Count, log.Length);
        for (int i = 0; i < steps.Count; i++)
        {
            AssertClose((double)steps[i]!["loss"]!, (double)log[i]["loss"]!, 2e-4, $"loss of step {i + 1}");
            AssertClose((double)steps[i]!["grad_norm"]!, (double)log[i]["grad_norm"]!, 1e-3, $"gradient norm of step {i + 1}");
            AssertClose((double)steps[i]!["learning_rate"]!, (double)log[i]["learning_rate"]!, 1e-6, $"learning rate of step {i + 1}");
        }

        return result;
    }

    private static void AssertWeights(TempFolder output, string expectedFile)
    {
        string found = Directory.EnumerateFiles(output["out"], "*model.safetensors").Single();
        using SafetensorsFile ours = SafetensorsFile.Open(found);
        using SafetensorsFile theirs = SafetensorsFile.Open(expectedFile);
        Assert.Empty(theirs.Tensors.Keys.Except(ours.Tensors.Keys));
        foreach (string name in theirs.Tensors.Keys)
        {
            using DisposeScope scope = torch.NewDisposeScope();
            torch.Tensor expected = theirs.View(name);
            double difference = (ours.View(name) - expected).norm().item<float>() / expected.norm().item<float>();
            Assert.True(difference <= 1e-3, $"{name} differs by {difference} of its norm");
        }
    }

    private static void AssertClose(double expected, double found, double relative, string what) =>
        Assert.True(Math.Abs(found - expected) <= relative * Math.Abs(expected) + 1e-12, $"{what}: {found}, expected {expected}");
}
