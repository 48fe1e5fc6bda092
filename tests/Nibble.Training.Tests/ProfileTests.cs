using System.Text.Json.Nodes;
using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.Reporting;

namespace Nibble.Training.Tests;

public class ProfileTests
{
    private const int Steps = 3;

    [Fact]
    public void A_profiled_run_knows_every_operator_of_its_steps_and_times_that_add_up()
    {
        using var folder = new TempFolder();
        Profile profile = Run(folder, profiles: true).Profile!;

        const int Layers = 5;
        Assert.Equal(Steps - 1, profile.Steps); // The first warms up.
        Assert.Equal(profile.Operators.Sum(item => item.Time.Ticks) + profile.Outside.Ticks, profile.Time.Ticks);
        Assert.InRange(profile.Share(profile.Outside), 0, 1);
        // Nobody needs what the last product of a layer gives in recomputation, nor the gradient of the embedding.
        (string Name, string Pass, int Calls)[] expected =
        [
            ("Embedding", "forward", 1), ("Linear", "forward", 7 * Layers), ("Linear", "recomputation", 6 * Layers), ("Linear backward", "backward", 7 * Layers),
            ("RmsNorm", "forward", (2 * Layers) + 1), ("RmsNorm", "recomputation", 2 * Layers), ("RmsNorm backward", "backward", 2 * Layers),
            ("Rope", "forward", 2 * Layers), ("Rope", "recomputation", 2 * Layers), ("Rope backward", "backward", 2 * Layers),
            ("SwiGlu", "forward", Layers), ("SwiGlu", "recomputation", Layers), ("SwiGlu backward", "backward", Layers),
            ("CausalAttention", "forward", Layers), ("CausalAttention", "recomputation", Layers), ("CausalAttention backward", "backward", Layers),
            ("LinearCrossEntropy", "forward", 1), ("LinearCrossEntropy backward", "backward", 1),
            ("GradientNorm", "update", 1), ("AdamW", "update", 8 * Layers),
        ];
        Assert.Equal(
            expected.Order(),
            profile.Operators.Select(item => (item.Name, item.Pass, item.Calls / profile.Steps)).Order());

        JsonArray events = JsonNode.Parse(File.ReadAllText(Path.Combine(folder["out"], FineTuner.TraceFile)))!["traceEvents"]!.AsArray();
        Assert.All(events, item => Assert.Equal("X", (string?)item!["ph"]));
        Assert.Equal(profile.Operators.Sum(item => item.Calls), events.Count(item => (string?)item!["cat"] != "pass"));
        JsonNode step = events.Single(item => (string?)item!["name"] == "step" && (double)item["ts"]! == 0)!;
        JsonNode forward = events.First(item => (string?)item!["name"] == "forward")!;
        Assert.InRange((double)forward["ts"]! + (double)forward["dur"]!, 0, (double)step["dur"]!);
        Assert.Contains("outside operators", profile.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public void A_run_that_is_not_profiled_has_the_same_losses_and_writes_no_trace()
    {
        using var folder = new TempFolder();
        TrainingResult plain = Run(folder, profiles: false);
        Assert.Null(plain.Profile);
        Assert.False(File.Exists(Path.Combine(folder["out"], FineTuner.TraceFile)));
        using var other = new TempFolder();
        Assert.Equal(plain.Losses, Run(other, profiles: true).Losses);
    }

    private static TrainingResult Run(TempFolder folder, bool profiles) => new FineTuner(new RunConfig
    {
        Model = SharedFolder.Path("models", "stories260K", "hf"),
        Method = Method.Qlora,
        OutputDir = folder["out"],
        Data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "lora", "train.jsonl"), MaxLength = 64 },
        Training = new TrainingSection { MaxSteps = Steps, PerDeviceTrainBatchSize = 1, GradientAccumulationSteps = 1 },
    })
    {
        Profiles = profiles,
    }.Run(cancellation: TestContext.Current.CancellationToken);
}
