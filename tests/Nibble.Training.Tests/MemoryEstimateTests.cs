using System.Text.Json;
using Nibble.Modeling.Configuration;
using Nibble.Tests;
using Nibble.Training.Configuration;

namespace Nibble.Training.Tests;

/// <summary>Estimates and plans for models whose sizes are known.</summary>
public class MemoryEstimateTests
{
    private const long GiB = 1L << 30;
    private const long Parameters1B = 1_235_814_400;
    private const long Head1B = 128256L * 2048;

    private static readonly DecoderConfig Llama1B = Llama(hidden: 2048, layers: 16, intermediate: 8192, tied: true);
    private static readonly DecoderConfig Llama8B = Llama(hidden: 4096, layers: 32, intermediate: 14336, tied: false);

    [Fact]
    public void Weights_and_what_learns_are_those_of_the_published_models()
    {
        MemoryEstimate lora = Estimate(Llama1B, Method.Lora);
        const long Norms = 33 * 2048;
        Assert.Equal((2 * (Parameters1B - Norms)) + (4 * Norms), lora.Weights);
        Assert.Equal(4 * 1_703_936, lora.TrainedParameters); // Rank 8 on q, k, v, o, as PEFT counts it.
        Assert.Equal(lora.TrainedParameters, lora.Gradients);
        Assert.Equal(2 * lora.TrainedParameters, lora.OptimizerStates);

        MemoryEstimate full = Estimate(Llama1B, Method.Full);
        Assert.Equal((0, 4 * Parameters1B), (full.Weights, full.TrainedParameters));

        // 6.98 billion weights of layers at 4.127 bits, two matrices of the vocabulary in bfloat16.
        Assert.InRange(Estimate(Llama8B, Method.Qlora).Weights, 5.70e9, 5.71e9);
        Assert.InRange(Estimate(Llama8B, Method.Lora).Weights, 16.06e9, 16.07e9);
    }

    [Fact]
    public void Modules_that_are_saved_whole_and_layers_that_are_left_out_count()
    {
        MemoryEstimate all = Estimate(Llama1B, Method.Qlora);
        MemoryEstimate half = Estimate(Llama1B, Method.Qlora, lora: new LoraSection { LayersToTransform = [0, 2, 4, 6, 8, 10, 12, 14] });
        Assert.Equal(all.TrainedParameters / 2, half.TrainedParameters);

        // A tied head gets a weight of its own; the embedding stays.
        MemoryEstimate head = Estimate(Llama1B, Method.Qlora, lora: new LoraSection { ModulesToSave = ["lm_head"] });
        Assert.Equal((all.Weights, all.TrainedParameters + (4 * Head1B)), (head.Weights, head.TrainedParameters));
        MemoryEstimate embedding = Estimate(Llama1B, Method.Qlora, lora: new LoraSection { ModulesToSave = ["embed_tokens"] });
        Assert.Equal((all.Weights - (2 * Head1B), all.TrainedParameters + (4 * Head1B)), (embedding.Weights, embedding.TrainedParameters));
    }

    [Fact]
    public void Of_an_embedding_in_the_models_file_what_is_read_counts()
    {
        HashSet<int> seen = [0, 1, 7, 8, 100_000]; // Rows of 8 KiB, of which eight are mapped together.
        const long Table = 128256L * 4096 * 2;
        RunConfig config = Config(Method.Qlora);
        DecoderConfig stored = Llama8B with { StoredDTypeName = "bfloat16" };
        Assert.Equal(Table - (3 * 65536), Unread(stored, config));
        Assert.Equal(0, Unread(stored, config, gpu: true));
        Assert.Equal(0, Unread(stored with { StoredDTypeName = "float16" }, config)); // A copy of its own.
        Assert.Equal(0, Unread(Llama1B with { StoredDTypeName = "bfloat16" }, config)); // The head, which every step reads.
        Assert.Equal(0, Unread(stored, config with { Lora = new LoraSection { ModulesToSave = ["embed_tokens"] } }));

        long Unread(DecoderConfig model, RunConfig run, bool gpu = false) =>
            MemoryEstimate.Of(run, model, gpu).Weights - MemoryEstimate.Of(run, model, gpu, seen: seen).Weights;
    }

    [Fact]
    public void Only_a_GPU_pages_states_and_tokens_decide_the_activations()
    {
        long trained = Parameters1B;
        MemoryEstimate paged = Estimate(Llama1B, Method.Full, OptimizerType.PagedAdamw32bit);
        Assert.Equal(32 << 20, paged.OptimizerStates);
        Assert.Equal(8 * trained, Estimate(Llama1B, Method.Full, OptimizerType.PagedAdamw32bit, gpu: false).OptimizerStates);
        Assert.Equal((2 * trained) + (8 * trained / 256), Estimate(Llama1B, Method.Full, OptimizerType.Adamw8bit).OptimizerStates);

        RunConfig config = Config(Method.Lora);
        RunConfig one = config with { Training = config.Training with { PerDeviceTrainBatchSize = 1 } };
        (MemoryEstimate four, MemoryEstimate single) = (MemoryEstimate.Of(config, Llama1B, gpu: true), MemoryEstimate.Of(one, Llama1B, gpu: true));
        Assert.Equal((four.LayerInputs / 4, four.Layer / 4), (single.LayerInputs, single.Layer));
        Assert.StartsWith("frozen weights 2.3 GiB, inside of one layer ", four.Largest, StringComparison.Ordinal);
    }

    [Fact]
    public void Weights_without_masters_take_two_bytes_and_updates_in_the_backward_pass_keep_one_units_gradients()
    {
        const long Norms = 33 * 2048;
        RunConfig config = Config(Method.Full, OptimizerType.Adamw8bit);
        RunConfig Changed(Func<TrainingSection, TrainingSection> change) => config with { Training = change(config.Training with { GradientAccumulationSteps = 1 }) };
        MemoryEstimate rounded = MemoryEstimate.Of(Changed(training => training with { Bf16StochasticRound = true, SaveAsync = true }), Llama1B, gpu: false);
        Assert.Equal((2 * (Parameters1B - Norms)) + (4 * Norms), rounded.TrainedParameters);
        Assert.Equal(rounded.TrainedParameters, rounded.Gradients);
        Assert.Equal(rounded.TrainedParameters + rounded.OptimizerStates, rounded.CheckpointCopy);

        // The matrix of the vocabulary is the largest unit.
        Assert.Equal(4 * Head1B, MemoryEstimate.Of(Changed(training => training with { OptimizerInBwd = true }), Llama1B, gpu: false).Gradients);
        MemoryEstimate both = MemoryEstimate.Of(Changed(training => training with { OptimizerInBwd = true, Bf16StochasticRound = true }), Llama1B, gpu: false);
        Assert.Equal(2 * Head1B, both.Gradients);
        Assert.InRange((double)(both.TrainedParameters + both.OptimizerStates) / Parameters1B, 4, 4.05);
    }

    [Fact]
    public void What_is_copied_to_be_written_counts_on_the_host_and_a_plan_proposes_to_wait_instead()
    {
        RunConfig waits = Config(Method.Full);
        RunConfig copies = waits with { Training = waits.Training with { SaveAsync = true } };
        MemoryEstimate estimate = MemoryEstimate.Of(copies, Llama1B, gpu: false);
        Assert.Equal(12 * Parameters1B, estimate.CheckpointCopy);
        Assert.Equal(0, MemoryEstimate.Of(copies, Llama1B, gpu: true).CheckpointCopy);
        Assert.Equal(12 * 1_703_936, MemoryEstimate.Of(Config(Method.Lora), Llama1B, gpu: false).CheckpointCopy);
        MemoryPlan plan = MemoryPlan.Of(copies, Llama1B, gpu: false, estimate.Total - 1);
        Assert.Equal([new MemoryChange("training.save_async", "true", "false", MemoryEstimate.Of(waits, Llama1B, gpu: false).Total)], plan.Changes);
    }

    [Fact]
    public void Without_gradient_checkpointing_all_layers_count_and_a_plan_proposes_it()
    {
        RunConfig again = Config(Method.Full, OptimizerType.PagedAdamw32bit);
        RunConfig keeps = again with { Training = again.Training with { GradientCheckpointing = false } };
        MemoryEstimate estimate = MemoryEstimate.Of(keeps, Llama1B, gpu: true);
        Assert.Equal(16, estimate.KeptLayers);
        Assert.Equal(estimate.Total, MemoryEstimate.Of(again, Llama1B, gpu: true).Total + estimate.KeptActivations);
        MemoryPlan plan = MemoryPlan.Of(keeps, Llama1B, gpu: true, estimate.Total - 1);
        Assert.Equal("training.gradient_checkpointing", plan.Changes[0].Key);
    }

    [Fact]
    public void A_plan_takes_the_least_harm_first_and_keeps_the_tokens_of_a_step()
    {
        MemoryPlan plan = MemoryPlan.Of(Config(Method.Lora), Llama8B, gpu: true, 6656L << 20);
        Assert.True(plan.Fits);
        Assert.Equal(
            [
                "training.optim=paged_adamw_32bit", "training.per_device_train_batch_size=1", "training.gradient_accumulation_steps=16", "training.optim=paged_adamw_8bit",
                "method=qlora", "data.max_length=1024",
            ],
            plan.Changes.Select(change => $"{change.Key}={change.To}"));
        Assert.All(plan.Changes.Zip(plan.Changes.Skip(1)), pair => Assert.True(pair.First.Total >= pair.Second.Total));

        RunConfig changed = Config(Method.Qlora, OptimizerType.PagedAdamw8bit);
        changed = changed with { Data = changed.Data with { MaxLength = 1024 }, Training = changed.Training with { PerDeviceTrainBatchSize = 1, GradientAccumulationSteps = 16 } };
        Assert.Equal(plan.Least, MemoryEstimate.Of(changed, Llama8B, gpu: true).Total);
    }

    [Fact]
    public void A_plan_changes_nothing_that_fits_and_says_when_nothing_helps()
    {
        Assert.Empty(MemoryPlan.Of(Config(Method.Lora), Llama1B, gpu: true, 80 * GiB).Changes);
        MemoryPlan plan = MemoryPlan.Of(Config(Method.Full), Llama8B, gpu: true, 2 * GiB);
        Assert.False(plan.Fits);
        Assert.Equal("256", plan.Changes[^1].To);
        Assert.Contains($"the least possible is {ByteSize.Format(plan.Least)}", plan.ToString(), StringComparison.Ordinal);
        Assert.DoesNotContain(MemoryPlan.Of(Config(Method.Full), Llama8B, gpu: false, 2 * GiB).Changes, change => change.To.StartsWith("paged", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("8GiB", 8L << 30)]
    [InlineData("1.5 GB", 1_500_000_000)]
    [InlineData("512MiB", 512L << 20)]
    [InlineData("10MB", 10_000_000)]
    [InlineData("8589934592", 8L << 30)]
    public void Amounts_of_memory_are_read(string text, long bytes) => Assert.Equal(bytes, ByteSize.Parse(text));

    private static MemoryEstimate Estimate(DecoderConfig model, Method method, OptimizerType optimizer = OptimizerType.AdamwTorch, LoraSection? lora = null, bool gpu = true) =>
        MemoryEstimate.Of(Config(method, optimizer) with { Lora = lora ?? new LoraSection() }, model, gpu);

    private static RunConfig Config(Method method, OptimizerType optimizer = OptimizerType.AdamwTorch) =>
        new() { Method = method, Training = new TrainingSection { Optim = optimizer } };

    private static DecoderConfig Llama(int hidden, int layers, int intermediate, bool tied)
    {
        using var folder = new TempFolder();
        Directory.CreateDirectory(folder["model"]);
        File.WriteAllText(Path.Combine(folder["model"], "config.json"), JsonSerializer.Serialize(new
        {
            model_type = "llama",
            architectures = new[] { "LlamaForCausalLM" },
            vocab_size = 128256,
            hidden_size = hidden,
            intermediate_size = intermediate,
            num_hidden_layers = layers,
            num_attention_heads = 32,
            num_key_value_heads = 8,
            head_dim = hidden / 32,
            max_position_embeddings = 131072,
            rms_norm_eps = 1e-5,
            rope_theta = 500000.0,
            hidden_act = "silu",
            tie_word_embeddings = tied,
            torch_dtype = "bfloat16",
        }));
        return ConfigReader.Read(folder["model"]);
    }
}
