using Nibble.Tests;
using Nibble.Training.Configuration;
using Nibble.Training.DeepSpeed;

namespace Nibble.Training.Tests;

public class DeepSpeedTests
{
    private static readonly RunConfig Run = new()
    {
        Method = Method.Full,
        Training = new TrainingSection { PerDeviceTrainBatchSize = 3, GradientAccumulationSteps = 5, LearningRate = 0.5, MaxGradNorm = 7 },
    };

    [Fact]
    public void Every_key_becomes_the_setting_that_it_means()
    {
        RunConfig run = Apply("""
            {
              "train_batch_size": 24, "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 3, "gradient_clipping": 0.25,
              "steps_per_print": 9, "wall_clock_breakdown": false,
              "fp16": { "enabled": true, "loss_scale": 0.0, "initial_scale_power": 16, "loss_scale_window": 2000, "hysteresis": 1 },
              "bf16": { "enabled": false },
              "optimizer": { "type": "AdamW", "params": { "lr": 1e-3, "betas": [0.8, 0.95], "eps": 1e-6, "weight_decay": "auto" } },
              "zero_optimization": {
                "stage": 3, "overlap_comm": false, "contiguous_gradients": true, "reduce_bucket_size": 5e8, "stage3_prefetch_bucket_size": 11,
                "stage3_param_persistence_threshold": 12, "stage3_gather_16bit_weights_on_model_save": true,
                "offload_optimizer": { "device": "nvme", "pin_memory": false }, "offload_param": { "device": "nvme" }
              }
            }
            """, processes: 4);
        Assert.Equal("float16", run.Dtype);
        Assert.Equal(
            Run.Training with
            {
                PerDeviceTrainBatchSize = 2,
                GradientAccumulationSteps = 3,
                MaxGradNorm = 0.25,
                LoggingSteps = 9,
                LearningRate = 1e-3,
                AdamBeta1 = 0.8,
                AdamBeta2 = 0.95,
                AdamEpsilon = 1e-6,
                ZeroStage = 3,
                OverlapComm = false,
                ReduceBucketSize = 500_000_000,
                PrefetchBucketSize = 11,
                ParamPersistenceThreshold = 12,
                OffloadOptimizer = OffloadDevice.Disk,
                OffloadParameters = OffloadDevice.Disk,
            },
            run.Training);
    }

    [Fact]
    public void What_is_missing_or_auto_stays_as_it_is()
    {
        Assert.Equal(Run, Apply("{}"));
        Assert.Equal(
            Run with { Training = Run.Training with { ZeroStage = 3 } },
            DeepSpeedConfig.Default.Apply(Run, processes: 1, onGpu: false));
    }

    [Theory]
    [InlineData("auto", "auto", "bfloat16", "bfloat16")]
    [InlineData("true", "auto", "float16", "bfloat16")]
    [InlineData("auto", "true", "bfloat16", "float16")]
    [InlineData("false", "auto", "bfloat16", "float32")]
    [InlineData("false", "auto", "float16", "float16")]
    [InlineData("auto", "false", "float16", "float32")]
    [InlineData("false", "false", "bf16", "float32")]
    public void A_type_that_is_switched_off_is_not_computed_in(string bf16, string fp16, string given, string expected)
    {
        string Value(string word) => word == "auto" ? "\"auto\"" : word;
        var config = DeepSpeedConfig.Parse($$"""{ "bf16": { "enabled": {{Value(bf16)}} }, "fp16": { "enabled": {{Value(fp16)}} } }""", "ds.json");
        Assert.Equal(expected, config.Apply(Run with { Dtype = given }, processes: 1, onGpu: false).Dtype);
    }

    [Fact]
    public void How_losses_are_scaled_says_nothing_where_they_are_not()
    {
        const string Usual = """{ "fp16": { "enabled": "auto", "loss_scale": 0, "loss_scale_window": 1000, "initial_scale_power": 16, "hysteresis": 2, "min_loss_scale": 1 } }""";
        Assert.Equal(Run, Apply(Usual));
        Assert.Contains("fp16.loss_scale_window is 1000", Assert.Throws<ArgumentException>(() => DeepSpeedConfig.Parse(Usual, "ds.json").Apply(Run with { Dtype = "float16" }, processes: 1, onGpu: false)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{ "train_batch_size": 48 }""", 3, 4)]
    [InlineData("""{ "train_batch_size": 48, "train_micro_batch_size_per_gpu": 6 }""", 6, 2)]
    [InlineData("""{ "train_batch_size": 48, "gradient_accumulation_steps": 2 }""", 6, 2)]
    [InlineData("""{ "train_micro_batch_size_per_gpu": 6, "gradient_accumulation_steps": 9 }""", 6, 9)]
    public void Two_of_the_batch_keys_give_the_third(string json, int micro, int steps)
    {
        TrainingSection training = Apply(json, processes: 4).Training;
        Assert.Equal((micro, steps), (training.PerDeviceTrainBatchSize, training.GradientAccumulationSteps));
    }

    [Theory]
    [InlineData("""{ "train_batch_size": 25, "train_micro_batch_size_per_gpu": 2, "gradient_accumulation_steps": 3 }""", "train_batch_size is 25, but train_micro_batch_size_per_gpu 2 x gradient_accumulation_steps 3 x 4 processes is 24.")]
    [InlineData("""{ "train_batch_size": 0 }""", "train_batch_size is 0; it must be positive.")]
    [InlineData("""{ "train_batch_size": 3e9 }""", "train_batch_size is 3000000000; it must be below 2^31.")]
    [InlineData("""{ "gradient_clipping": -1 }""", "gradient_clipping is -1; it must be zero or a positive number or \"auto\".")]
    [InlineData("""{ "zero_optimization": { "reduce_bucket_size": 0 } }""", "zero_optimization.reduce_bucket_size is 0; it must be positive.")]
    [InlineData("""{ "zero_optimization": { "stage": 2, "offload_param": { "device": "nvme" } } }""", "zero_optimization.offload_param.device is \"nvme\"; that needs stage 3, but stage is 2.")]
    [InlineData("""{ "train_batch_size": "all" }""", "train_batch_size is \"all\"; it must be a whole number or \"auto\".")]
    [InlineData("""{ "zero_optimization": { "sub_group_size": 1e9 } }""", "zero_optimization.sub_group_size is not supported.")]
    [InlineData("""{ "zero_optimization": { "stage": 4 } }""", "zero_optimization.stage is 4; it must be 0, 1, 2 or 3.")]
    [InlineData("""{ "zero_optimization": 3 }""", "zero_optimization is 3; it must be an object.")]
    [InlineData("""{ "zero_optimization": { "offload_param": { "device": "tape" } } }""", "zero_optimization.offload_param.device is \"tape\"; it must be none, cpu, or nvme (a file of the output folder).")]
    [InlineData("""{ "zero_optimization": { "offload_optimizer": { "nvme_path": "/mnt" } } }""", "zero_optimization.offload_optimizer.nvme_path is not supported.")]
    [InlineData("""{ "zero_optimization": { "contiguous_gradients": false } }""", "zero_optimization.contiguous_gradients is false; only true is supported: gradients are sent end to end.")]
    [InlineData("""{ "fp16": { "enabled": true }, "bf16": { "enabled": true } }""", "bf16.enabled and fp16.enabled are both true; one of them can be.")]
    [InlineData("""{ "fp16": { "enabled": true, "loss_scale": 128 } }""", "fp16.loss_scale is 128; only 0 is supported: the scale is dynamic.")]
    [InlineData("""{ "fp16": { "enabled": true, "min_loss_scale": 0.5 } }""", "fp16.min_loss_scale is 0.5; only 1 is supported: a run whose gradients overflow at a scale of 1 ends.")]
    [InlineData("""{ "optimizer": { "type": "Lamb" } }""", "optimizer.type is \"Lamb\"; only \"AdamW\" is supported: the others are not there.")]
    [InlineData("""{ "scheduler": { "type": "WarmupLR" } }""", "scheduler is not supported.")]
    public void What_cannot_be_honoured_is_refused_by_name(string json, string problem) =>
        Assert.Equal($"ds.json: {problem}", Assert.Throws<ArgumentException>(() => Apply(json, processes: 4)).Message);

    [Fact]
    public void On_a_GPU_the_host_can_have_the_optimizer_or_the_parameters_with_it()
    {
        const string Json = """{ "zero_optimization": { "offload_optimizer": { "device": "cpu" } } }""";
        Assert.Equal(OptimizerType.PagedAdamw8bit, DeepSpeedConfig.Parse(Json, "ds.json").Apply(
            Run with { Training = Run.Training with { Optim = OptimizerType.Adamw8bit } }, processes: 1, onGpu: true).Training.Optim);
        TrainingSection both = DeepSpeedConfig.Default.Apply(Run, processes: 2, onGpu: true).Training;
        Assert.Equal((3, OffloadDevice.Cpu, OffloadDevice.None, Run.Training.Optim), (both.ZeroStage, both.OffloadParameters, both.OffloadOptimizer, both.Optim));
        Assert.Equal(OffloadDevice.None, DeepSpeedConfig.Default.Apply(Run, processes: 2, onGpu: false).Training.OffloadParameters);

        const string Alone = """{ "zero_optimization": { "stage": 3, "offload_param": { "device": "cpu" } } }""";
        string message = Assert.Throws<ArgumentException>(() => DeepSpeedConfig.Parse(Alone, "ds.json").Apply(Run, processes: 1, onGpu: true)).Message;
        Assert.Equal("ds.json: zero_optimization.offload_optimizer.device is \"none\"; the states of parameters that are offloaded lie with them (\"cpu\"), or in a file (\"nvme\").", message);
        const string Early = """{ "zero_optimization": { "stage": 2, "offload_optimizer": { "device": "cpu" }, "offload_param": { "device": "cpu" } } }""";
        Assert.Contains("that needs stage 3, but stage is 2", Assert.Throws<ArgumentException>(() => DeepSpeedConfig.Parse(Early, "ds.json").Apply(Run, processes: 1, onGpu: true)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Text_that_is_no_JSON_object_is_refused()
    {
        Assert.StartsWith("ds.json is not JSON: ", Assert.Throws<InvalidDataException>(() => DeepSpeedConfig.Parse("{", "ds.json")).Message, StringComparison.Ordinal);
        Assert.StartsWith("ds.json is not JSON: Duplicate property 'stage'", Assert.Throws<InvalidDataException>(() => DeepSpeedConfig.Parse("""{ "zero_optimization": { "stage": 1, "stage": 2 } }""", "ds.json")).Message, StringComparison.Ordinal);
        Assert.Equal("ds.json is not a JSON object.", Assert.Throws<InvalidDataException>(() => DeepSpeedConfig.Parse("[]", "ds.json")).Message);
    }

    [Fact]
    public void The_trainer_trains_like_a_full_fine_tune_with_the_same_settings()
    {
        using var folder = new TempFolder();
        string model = SharedFolder.Path("models", "stories260K", "hf");
        var settings = new FullFinetuneConfig { MaxSteps = 2, ReportSamples = 0 };
        var data = new DataSection { Train = SharedFolder.Path("vectors", "training", "short", "full", "train.jsonl"), MaxLength = 64 };
        TrainingResult expected = new FullFinetuner(model, settings).Train(data, folder["plain"], cancellation: TestContext.Current.CancellationToken);
        TrainingResult found = new DeepSpeedTrainer(model, config: settings).Train(data, folder["deepspeed"], cancellation: TestContext.Current.CancellationToken);
        Assert.Equal(expected.Losses, found.Losses);

        // No tensor of this model is large enough to go to the disk.
        var disk = DeepSpeedConfig.Parse("""{ "zero_optimization": { "stage": 3, "offload_param": { "device": "nvme" } } }""", "ds.json");
        Assert.Equal(expected.Losses, new DeepSpeedTrainer(model, disk, settings).Train(data, folder["disk"], cancellation: TestContext.Current.CancellationToken).Losses);
    }

    private static RunConfig Apply(string json, int processes = 1) => DeepSpeedConfig.Parse(json, "ds.json").Apply(Run, processes, onGpu: false);
}
