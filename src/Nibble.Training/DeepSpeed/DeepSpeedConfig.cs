using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Modeling.Checkpoints;
using Nibble.Training.Configuration;
using static TorchSharp.torch;

namespace Nibble.Training.DeepSpeed;

/// <summary>
/// A DeepSpeed configuration (its JSON file) as settings of a run. Every key is honoured or refused by its name; one that is missing
/// or <c>auto</c> leaves what the run has.
/// </summary>
public sealed class DeepSpeedConfig
{
    private const string DefaultText =
        """
        {
          "bf16": { "enabled": "auto" },
          "fp16": { "enabled": "auto" },
          "zero_optimization": {
            "stage": 3,
            "offload_optimizer": { "device": "cpu", "pin_memory": true },
            "offload_param": { "device": "cpu", "pin_memory": true },
            "overlap_comm": true,
            "contiguous_gradients": true,
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto"
          },
          "gradient_accumulation_steps": "auto",
          "gradient_clipping": "auto",
          "train_batch_size": "auto",
          "train_micro_batch_size_per_gpu": "auto"
        }
        """;

    private readonly string name;
    private readonly JsonObject json;

    private DeepSpeedConfig(string name, JsonObject json)
    {
        this.name = name;
        this.json = json;
    }

    /// <summary>ZeRO 3 with optimizer and parameters in the host's memory.</summary>
    public static DeepSpeedConfig Default { get; } = Parse(DefaultText, "the default DeepSpeed configuration");

    /// <summary>Reads a file.</summary>
    /// <exception cref="FileNotFoundException">There is none.</exception>
    /// <exception cref="InvalidDataException">It is not a JSON object.</exception>
    public static DeepSpeedConfig Load(string path) =>
        File.Exists(path) ? Parse(File.ReadAllText(path), path) : throw new FileNotFoundException($"{path} does not exist.", path);

    /// <summary>Reads JSON.</summary>
    /// <param name="text">The object.</param>
    /// <param name="name">What errors call it.</param>
    /// <exception cref="InvalidDataException">It is not a JSON object, or has a key twice.</exception>
    public static DeepSpeedConfig Parse(string text, string name)
    {
        try
        {
            var strict = new JsonDocumentOptions { AllowDuplicateProperties = false };
            return new DeepSpeedConfig(name, JsonNode.Parse(text, documentOptions: strict) as JsonObject ?? throw new InvalidDataException($"{name} is not a JSON object."));
        }
        catch (JsonException exception)
        {
            throw new InvalidDataException($"{name} is not JSON: {exception.Message}", exception);
        }
    }

    /// <summary>A run with these settings.</summary>
    /// <param name="run">What holds where this configuration says nothing.</param>
    /// <param name="processes">Number of processes, which the three batch keys must agree with.</param>
    /// <param name="onGpu">Whether the run computes on GPUs.</param>
    /// <exception cref="ArgumentException">A key is unknown, or its value is not supported; the message names it.</exception>
    public RunConfig Apply(RunConfig run, int processes, bool onGpu)
    {
        ArgumentNullException.ThrowIfNull(run);
        var root = new DeepSpeedSection(name, "", json);
        RunConfig result = run with
        {
            Dtype = Dtype(root, run.Dtype),
            Training = Optimizer(root.Section("optimizer"), Zero(root.Section("zero_optimization"), Batch(root, run.Training, processes), onGpu)) with
            {
                MaxGradNorm = root.Number("gradient_clipping") ?? run.Training.MaxGradNorm,
                LoggingSteps = (int?)root.Positive("steps_per_print") ?? run.Training.LoggingSteps,
            },
        };
        root.Only("wall_clock_breakdown", false, "use nibble train --profile");
        root.End();
        return result;
    }

    /// <summary>Two of the three keys give the third.</summary>
    private static TrainingSection Batch(DeepSpeedSection root, TrainingSection training, int processes)
    {
        const string Whole = "train_batch_size";
        const string Micro = "train_micro_batch_size_per_gpu";
        const string Steps = "gradient_accumulation_steps";
        (long? all, long? one, long? passes) = (root.Positive(Whole), root.Positive(Micro), root.Positive(Steps));
        long micro = one ?? (all is not null && passes is not null ? Math.Max(1, all.Value / (passes.Value * processes)) : training.PerDeviceTrainBatchSize);
        long steps = passes ?? (all is not null ? Math.Max(1, all.Value / (micro * processes)) : training.GradientAccumulationSteps);
        return all is null || all == micro * steps * processes
            ? training with { PerDeviceTrainBatchSize = (int)micro, GradientAccumulationSteps = (int)steps }
            : throw root.Problem(Whole, $"is {all}, but {Micro} {micro} x {Steps} {steps} x {processes} process{(processes == 1 ? "" : "es")} is {micro * steps * processes}");
    }

    private static string Dtype(DeepSpeedSection root, string dtype)
    {
        DeepSpeedSection fp16 = root.Section("fp16");
        ScalarType given = DTypeNames.Parse(dtype);
        string result = (root.Section("bf16").Flag("enabled"), fp16.Flag("enabled")) switch
        {
            (true, true) => throw root.Problem("bf16.enabled", "and fp16.enabled are both true; one of them can be"),
            (true, _) => "bfloat16",
            (_, true) => "float16",
            (false, _) when given == ScalarType.BFloat16 => "float32",
            (_, false) when given == ScalarType.Float16 => "float32",
            _ => dtype,
        };
        bool scales = DTypeNames.Parse(result) == ScalarType.Float16;
        fp16.Only("loss_scale", 0, "the scale is dynamic", scales);
        fp16.Only("initial_scale_power", 16, "the scale begins at 65536", scales);
        fp16.Only("loss_scale_window", 2000, "the scale doubles after 2,000 good steps", scales);
        fp16.Only("hysteresis", 1, "the scale halves at the first overflow", scales);
        fp16.Only("min_loss_scale", 1, "a run whose gradients overflow at a scale of 1 ends", scales);
        return result;
    }

    private static TrainingSection Zero(DeepSpeedSection zero, TrainingSection training, bool onGpu)
    {
        if (!zero.IsThere)
        {
            return training;
        }

        long stage = zero.Count("stage") ?? training.ZeroStage;
        zero.Only("contiguous_gradients", true, "gradients are sent end to end");
        zero.Only("stage3_gather_16bit_weights_on_model_save", true, "a whole Hugging Face folder is written");
        DeepSpeedSection optimizer = zero.Section("offload_optimizer");
        DeepSpeedSection parameters = zero.Section("offload_param");
        (Place states, Place shares) = (PlaceOf(optimizer, onGpu), PlaceOf(parameters, onGpu));
        if ((shares == Place.Disk || (onGpu && shares == Place.Host)) && stage < 3)
        {
            throw parameters.Problem("device", $"is \"{parameters.Word("device")}\"; that needs stage 3, but stage is {stage}");
        }

        if (onGpu && shares != Place.Device && states == Place.Device)
        {
            throw optimizer.Problem("device", "is \"none\"; the states of parameters that are offloaded lie with them (\"cpu\"), or in a file (\"nvme\")");
        }

        return training with
        {
            ZeroStage = stage <= 3 ? (int)stage : throw zero.Problem("stage", $"is {stage}; it must be 0, 1, 2 or 3"),
            Optim = states == Place.Host && shares == Place.Device ? Paged(training.Optim) : training.Optim,
            OffloadOptimizer = states == Place.Disk ? OffloadDevice.Disk : training.OffloadOptimizer,
            OffloadParameters = shares == Place.Disk ? OffloadDevice.Disk : onGpu && shares == Place.Host ? OffloadDevice.Cpu : training.OffloadParameters,
            OverlapComm = zero.Flag("overlap_comm") ?? training.OverlapComm,
            ReduceBucketSize = zero.Positive("reduce_bucket_size") ?? training.ReduceBucketSize,
            PrefetchBucketSize = zero.Count("stage3_prefetch_bucket_size") ?? training.PrefetchBucketSize,
            ParamPersistenceThreshold = zero.Count("stage3_param_persistence_threshold") ?? training.ParamPersistenceThreshold,
        };
    }

    /// <summary>Where something lies that need not lie on the device.</summary>
    private enum Place
    {
        Device,
        Host,
        Disk,
    }

    /// <summary>On a CPU, the host's memory is where everything lies.</summary>
    private static Place PlaceOf(DeepSpeedSection offload, bool onGpu)
    {
        string device = offload.Word("device") ?? "none";
        if (onGpu && device == "cpu")
        {
            offload.Only("pin_memory", true, "the GPU copies from pinned memory");
        }
        else
        {
            _ = offload.Flag("pin_memory"); // There is nothing to pin without a GPU.
        }

        return device switch
        {
            "none" => Place.Device,
            "cpu" => Place.Host,
            "nvme" => Place.Disk,
            _ => throw offload.Problem("device", $"is \"{device}\"; it must be none, cpu, or nvme (a file of the output folder)"),
        };
    }

    /// <summary>The same states in host memory; a CPU makes no difference.</summary>
    private static OptimizerType Paged(OptimizerType type) => type switch
    {
        OptimizerType.AdamwTorch => OptimizerType.PagedAdamw32bit,
        OptimizerType.Adamw8bit => OptimizerType.PagedAdamw8bit,
        _ => type,
    };

    private static TrainingSection Optimizer(DeepSpeedSection optimizer, TrainingSection training)
    {
        if (!optimizer.IsThere)
        {
            return training;
        }

        optimizer.Only("type", "AdamW", "the others are not there");
        DeepSpeedSection values = optimizer.Section("params");
        double[]? betas = values.Numbers("betas", 2);
        return training with
        {
            LearningRate = values.Number("lr") ?? training.LearningRate,
            AdamBeta1 = betas?[0] ?? training.AdamBeta1,
            AdamBeta2 = betas?[1] ?? training.AdamBeta2,
            AdamEpsilon = values.Number("eps") ?? training.AdamEpsilon,
            WeightDecay = values.Number("weight_decay") ?? training.WeightDecay,
        };
    }
}
