using Nibble.Data;
using Nibble.Evaluation;
using Nibble.Kernels;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Checkpoints;
using Nibble.Training.Optimization;
using Nibble.Training.Prompts;

namespace Nibble.Training.Configuration;

/// <summary>What learns.</summary>
public enum Method
{
    /// <summary>Adapters over dense weights.</summary>
    Lora,

    /// <summary>Adapters over weights in NF4 (arXiv:2305.14314).</summary>
    Qlora,

    /// <summary>All weights.</summary>
    Full,
}

/// <summary>A training run, as its configuration file describes it. Keys are the properties' names in snake_case.</summary>
public sealed record RunConfig
{
    /// <summary>The base model's folder.</summary>
    public string Model { get; init; } = "";

    /// <summary>What learns.</summary>
    public Method Method { get; init; } = Method.Lora;

    /// <summary>Dtype of activations and frozen weights: float32, bfloat16 or float16.</summary>
    public string Dtype { get; init; } = "bfloat16";

    /// <summary>Where the run computes: auto (the first GPU that can be used, else the CPU), cpu, or cuda:N.</summary>
    public string Device { get; init; } = ComputeDevice.Auto;

    /// <summary>
    /// Memory that the run may take, such as 8GiB: what its estimate leaves of that, layers use to keep their activations instead of
    /// computing them again. Null: all compute them again, which takes least.
    /// </summary>
    public string? MemoryLimit { get; init; }

    /// <summary>Where results go; must not hold another run.</summary>
    public string OutputDir { get; init; } = "out";

    /// <summary>Decides initial values, order and dropout.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>Examples.</summary>
    public DataSection Data { get; init; } = new();

    /// <summary>The adapter; ignored by <see cref="Method.Full"/>.</summary>
    public LoraSection Lora { get; init; } = new();

    /// <summary>The base model's quantisation; <see cref="Method.Qlora"/> only.</summary>
    public QuantizationSection Quantization { get; init; } = new();

    /// <summary>Loop and optimizer.</summary>
    public TrainingSection Training { get; init; } = new();

    /// <summary>Whether checkpoints are written beside the training.</summary>
    internal bool SavesInBackground => Training.SaveAsync ?? Method != Method.Full;

    /// <summary>Checks what can be checked without reading the model.</summary>
    /// <exception cref="ArgumentException">A value is missing or out of range; the message names the key.</exception>
    public RunConfig Validated()
    {
        Require(Model.Length > 0, "model is missing: name the base model's folder");
        _ = ComputeDevice.Parse(Device);
        _ = MemoryLimit is null ? 0 : ByteSize.Parse(MemoryLimit);
        Require(Data.Train.Length > 0, "data.train is missing: name a file of examples");
        Require(Data.EvalRatio is >= 0 and < 1, $"data.eval_ratio is {Data.EvalRatio}; it must lie in [0, 1)");
        Require(Data.MaxLength > 1, $"data.max_length is {Data.MaxLength}; it must be at least 2");
        Require(Quantization.Bnb4bitQuantType == "nf4", $"quantization.bnb_4bit_quant_type is '{Quantization.Bnb4bitQuantType}'; nf4 is supported");
        TrainingSection t = Training;
        Require(t.MaxSteps == -1 || t.MaxSteps > 0, $"training.max_steps is {t.MaxSteps}; it must be positive, or -1 for whole epochs");
        Require(double.IsFinite(t.NumTrainEpochs) && t.NumTrainEpochs > 0, $"training.num_train_epochs is {t.NumTrainEpochs}; it must be positive");
        Require(t.PerDeviceTrainBatchSize > 0, $"training.per_device_train_batch_size is {t.PerDeviceTrainBatchSize}; it must be positive");
        Require(t.GradientAccumulationSteps > 0, $"training.gradient_accumulation_steps is {t.GradientAccumulationSteps}; it must be positive");
        Require(double.IsFinite(t.LearningRate) && t.LearningRate >= 0, $"training.learning_rate is {t.LearningRate}; it must be zero or positive");
        _ = new RateGroups(t.LrGroups);
        Require(t.Freeze.Count == 0 || Method == Method.Full, "training.freeze is for method full; beside an adapter the whole model is frozen");
        Require(t.WarmupRatio is >= 0 and <= 1, $"training.warmup_ratio is {t.WarmupRatio}; it must lie in [0, 1]");
        Require(t.WarmupSteps >= 0, $"training.warmup_steps is {t.WarmupSteps}; it must be zero or positive");
        Require(t.AdamBeta1 is >= 0 and < 1 && t.AdamBeta2 is >= 0 and < 1, "training.adam_beta1 and adam_beta2 must lie in [0, 1)");
        Require(double.IsFinite(t.WeightDecay) && t.WeightDecay >= 0, $"training.weight_decay is {t.WeightDecay}; it must be zero or positive");
        Require(double.IsFinite(t.AdamEpsilon) && t.AdamEpsilon >= 0, $"training.adam_epsilon is {t.AdamEpsilon}; it must be zero or positive");
        Require(t.MaxGradNorm >= 0, $"training.max_grad_norm is {t.MaxGradNorm}; it must be positive, or 0 for no clipping");
        Require(
            t.GradientCheckpointing || MemoryLimit is null,
            "training.gradient_checkpointing is false, so that all layers keep their activations, but memory_limit is to choose how many do; give one of them");
        Require(
            !t.Bf16StochasticRound || (Method == Method.Full && DTypeNames.InFull(Dtype) == "bfloat16"),
            "training.bf16_stochastic_round is for method full with dtype bfloat16; adapters, and other dtypes, learn in float32");
        RequireFitForBackward();
        Require(t.LoggingSteps > 0, $"training.logging_steps is {t.LoggingSteps}; it must be positive");
        Require(t.EvalSteps >= 0, $"training.eval_steps is {t.EvalSteps}; it must be positive, or 0 for the end of each epoch");
        Require(t.SaveSteps >= 0, $"training.save_steps is {t.SaveSteps}; it must be positive, or 0 for the end of each epoch");
        Require(t.EarlyStoppingPatience >= 0, $"training.early_stopping_patience is {t.EarlyStoppingPatience}; it must be positive, or 0 for never");
        Require(
            t.EarlyStoppingPatience == 0 || Data.Eval is not null || Data.EvalRatio > 0,
            "training.early_stopping_patience needs evaluations; name data.eval or set data.eval_ratio");
        Require(t.EvalMaxNewTokens > 0, $"training.eval_max_new_tokens is {t.EvalMaxNewTokens}; it must be positive");
        foreach (string name in t.EvalMetrics)
        {
            _ = Metrics.Create(name, new MetricOptions { Extract = t.EvalExtract });
        }

        Require(
            t.EvalMetrics.Count == 0 || Data.Eval is not null || Data.EvalRatio > 0,
            "training.eval_metrics need evaluations; name data.eval or set data.eval_ratio");
        Require(
            t.MetricForBestModel == TrainingSection.EvalLoss || t.EvalMetrics.Contains(t.MetricForBestModel),
            $"training.metric_for_best_model is '{t.MetricForBestModel}'; it must be {TrainingSection.EvalLoss} or one of training.eval_metrics");
        Require(t.ZeroStage is >= 0 and <= 3, $"training.zero_stage is {t.ZeroStage}; it must be 0, 1, 2 or 3");
        Require(t.ZeroStage < 3 || Method == Method.Full, "training.zero_stage 3 is for method full; beside an adapter, stage 0 to 2 share out what learns");
        Require(
            t.ZeroStage < 3 || (t.GradientCheckpointing && MemoryLimit is null),
            "training.zero_stage 3 takes a layer's weights away when it is through, so that each is computed again; leave gradient_checkpointing true and memory_limit unset");
        Require(t.OffloadOptimizer != OffloadDevice.Cpu, "training.offload_optimizer is cpu; it must be none or disk: states are on the host with offload_parameters, or with training.optim paged_adamw_32bit or paged_adamw_8bit");
        Require(t.OffloadParameters == OffloadDevice.None || t.ZeroStage == 3, "training.offload_parameters is for training.zero_stage 3, which gathers parameters when they are needed");
        Require(t.ReduceBucketSize > 0, $"training.reduce_bucket_size is {t.ReduceBucketSize}; it must be positive");
        Require(t.PrefetchBucketSize >= 0, $"training.prefetch_bucket_size is {t.PrefetchBucketSize}; it must be positive, or 0 for none");
        Require(t.ParamPersistenceThreshold >= 0, $"training.param_persistence_threshold is {t.ParamPersistenceThreshold}; it must be zero or positive");
        Require(t.DdpTimeout > 0, $"training.ddp_timeout is {t.DdpTimeout}; it must be positive");
        Require(t.ReportSamples >= 0, $"training.report_samples is {t.ReportSamples}; it must be positive, or 0 for none");
        Require(t.SaveTotalLimit > 0, $"training.save_total_limit is {t.SaveTotalLimit}; it must be positive");
        _ = DTypeNames.InFull(Dtype);
        _ = DTypeNames.InFull(Quantization.Bnb4bitComputeDtype);
        Require(
            Method != Method.Qlora || Quantization.Bnb4bitComputeDtype == new QuantizationSection().Bnb4bitComputeDtype || Quantization.Bnb4bitComputeDtype == Dtype,
            $"quantization.bnb_4bit_compute_dtype is {Quantization.Bnb4bitComputeDtype} but dtype is {Dtype}; the engine computes in one dtype, so they must agree");
        if (Method != Method.Full)
        {
            _ = Lora.Validated();
        }

        return this;
    }

    /// <summary>What an update in the backward pass would need to know before its end is refused.</summary>
    private void RequireFitForBackward()
    {
        const string Key = "training.optimizer_in_bwd";
        TrainingSection t = Training;
        if (t.OptimizerInBwd)
        {
            Require(Method == Method.Full, $"{Key} is for method full; the gradients of adapters are small");
            Require(t.GradientAccumulationSteps == 1, $"{Key} updates a layer after one micro-batch, but training.gradient_accumulation_steps is {t.GradientAccumulationSteps}; set it to 1");
            Require(t.MaxGradNorm == 0, $"{Key} updates a layer before the global norm is known, but training.max_grad_norm is {t.MaxGradNorm}; set it to 0");
            Require(DTypeNames.InFull(Dtype) != "float16", $"{Key} cannot take back the update of a step whose float16 gradients overflow; use dtype bfloat16 or float32");
            Require(t.GradientCheckpointing && MemoryLimit is null, $"{Key} needs layers that are computed again; leave gradient_checkpointing true and memory_limit unset");
        }
    }

    private static void Require(bool condition, string problem)
    {
        if (!condition)
        {
            throw new ArgumentException(problem + ".");
        }
    }
}

/// <summary>Section <c>data</c>.</summary>
public sealed record DataSection
{
    /// <summary>Training examples: .jsonl or .json.</summary>
    public string Train { get; init; } = "";

    /// <summary>Evaluation examples; null for none, or those that <see cref="EvalRatio"/> takes from the training file.</summary>
    public string? Eval { get; init; }

    /// <summary>Share of the training file that evaluates instead, chosen by a hash of each example.</summary>
    public double EvalRatio { get; init; }

    /// <summary>How records are read.</summary>
    public DatasetFormat Format { get; init; } = DatasetFormat.Auto;

    /// <summary>How records become prompts.</summary>
    public PromptStyle PromptFormat { get; init; } = PromptStyle.Auto;

    /// <summary>The template of chats: <see cref="NamedTemplate.Roles"/>, or the path of a file; null for the model's own.</summary>
    public string? ChatTemplate { get; init; }

    /// <summary>Tokens of a sequence at most; longer examples are cut.</summary>
    public int MaxLength { get; init; } = 2048;

    /// <summary>Joins short examples to sequences of up to max_length; attention and positions stay within each example.</summary>
    public bool Packing { get; init; } = true;

    /// <summary>Another order in each epoch.</summary>
    public bool Shuffle { get; init; } = true;
}

/// <summary>Section <c>lora</c>: PEFT's settings, and where they begin.</summary>
public sealed record LoraSection : LoraConfig
{
    /// <summary>The defaults.</summary>
    public LoraSection()
    {
    }

    /// <summary>Given settings.</summary>
    public LoraSection(LoraConfig settings)
        : base(settings)
    {
    }

    /// <summary>A stored adapter to go on from; its own settings then hold, but for the dropout.</summary>
    public string? InitAdapter { get; init; }
}

/// <summary>Section <c>quantization</c>: bitsandbytes' settings.</summary>
public sealed record QuantizationSection
{
    /// <summary>nf4.</summary>
    public string Bnb4bitQuantType { get; init; } = "nf4";

    /// <summary>Whether the scales are quantised as well.</summary>
    public bool Bnb4bitUseDoubleQuant { get; init; } = true;

    /// <summary>Must agree with <c>dtype</c>.</summary>
    public string Bnb4bitComputeDtype { get; init; } = "bfloat16";
}

/// <summary>Section <c>training</c>: transformers' TrainingArguments.</summary>
public record TrainingSection
{
    /// <summary>Passes over the data.</summary>
    public double NumTrainEpochs { get; init; } = 3;

    /// <summary>Optimizer steps; overrides the epochs unless -1.</summary>
    public int MaxSteps { get; init; } = -1;

    /// <summary>Sequences in a micro-batch of one process.</summary>
    public int PerDeviceTrainBatchSize { get; init; } = 4;

    /// <summary>Micro-batches of each process in a step.</summary>
    public int GradientAccumulationSteps { get; init; } = 4;

    /// <summary>Highest learning rate.</summary>
    public double LearningRate { get; init; } = 2e-4;

    /// <summary>Factors on the learning rate, <c>pattern=factor</c>, by the names of parameters; the first pattern that matches holds.</summary>
    public IReadOnlyList<string> LrGroups { get; init; } = [];

    /// <summary>Patterns of modules that stay as they are; <see cref="Method.Full"/> only.</summary>
    public IReadOnlyList<string> Freeze { get; init; } = [];

    /// <summary>Decoupled decay; norms and biases are spared.</summary>
    public double WeightDecay { get; init; } = 0.01;

    /// <summary>Decay of the first moment.</summary>
    public double AdamBeta1 { get; init; } = 0.9;

    /// <summary>Decay of the second moment.</summary>
    public double AdamBeta2 { get; init; } = 0.999;

    /// <summary>Added to the root of the second moment.</summary>
    public double AdamEpsilon { get; init; } = 1e-8;

    /// <summary>Gradients are scaled down to this global norm; 0 for no clipping.</summary>
    public double MaxGradNorm { get; init; } = 1;

    /// <summary>How the learning rate falls after the warm-up.</summary>
    public SchedulerType LrSchedulerType { get; init; } = SchedulerType.Cosine;

    /// <summary>Share of the steps over which the rate rises; ignored when warmup_steps is set.</summary>
    public double WarmupRatio { get; init; } = 0.03;

    /// <summary>Steps over which the rate rises.</summary>
    public int WarmupSteps { get; init; }

    /// <summary>States of the optimizer.</summary>
    public OptimizerType Optim { get; init; } = OptimizerType.AdamwTorch;

    /// <summary>Where the optimizer's states lie, in memory or in a file; beside parameters that stay on a GPU the paged optimizers keep them on the host.</summary>
    public OffloadDevice OffloadOptimizer { get; init; } = OffloadDevice.None;

    /// <summary>
    /// Whether the weights that learn are bfloat16 without float32 masters: updates are computed in float32 and rounded up or down at random, so that small
    /// ones count on average (arXiv:2010.06192, torchao's name); <see cref="Method.Full"/> in bfloat16 only. Norms stay float32.
    /// </summary>
    public bool Bf16StochasticRound { get; init; }

    /// <summary>
    /// Whether weights are updated in the backward pass, each layer's as soon as its gradients are there, which then go (arXiv:2306.09782,
    /// torchtune's name); <see cref="Method.Full"/> only, without accumulation, clipping and loss scale.
    /// </summary>
    public bool OptimizerInBwd { get; init; }

    /// <summary>Whether each layer keeps only its input and is computed again in the backward pass; else all of them keep their activations.</summary>
    public bool GradientCheckpointing { get; init; } = true;

    /// <summary>Steps between log lines.</summary>
    public int LoggingSteps { get; init; } = 10;

    /// <summary>Steps between evaluations; 0 for the end of each epoch.</summary>
    public int EvalSteps { get; init; }

    /// <summary>What is measured of the model's answers at each evaluation, besides the loss: names that <c>nibble eval --metrics</c> knows for texts.</summary>
    public IReadOnlyList<string> EvalMetrics { get; init; } = [];

    /// <summary>Tokens of such an answer at most.</summary>
    public int EvalMaxNewTokens { get; init; } = 128;

    /// <summary>A regular expression whose group finds what is compared in answer and reference, such as <c>#### (.+)</c>; null: all of them.</summary>
    public string? EvalExtract { get; init; }

    /// <summary>Which evaluation is best: by <c>eval_loss</c>, or by one of eval_metrics.</summary>
    public string MetricForBestModel { get; init; } = EvalLoss;

    /// <summary>The metric that needs no answers.</summary>
    public const string EvalLoss = "eval_loss";

    /// <summary>Steps between checkpoints; 0 for the end of each epoch.</summary>
    public int SaveSteps { get; init; }

    /// <summary>Checkpoints that are kept.</summary>
    public int SaveTotalLimit { get; init; } = 2;

    /// <summary>
    /// Whether checkpoints are copied in memory and written while training goes on; null: of adapters, whose copy is small, but not of a
    /// whole model.
    /// </summary>
    public bool? SaveAsync { get; init; }

    /// <summary>Evaluations without improvement after which training ends with the best weights; 0 for never.</summary>
    public int EarlyStoppingPatience { get; init; }

    /// <summary>
    /// What several processes share out (ZeRO, arXiv:1910.02054): 0 nothing, 1 the optimizer's states and float32 masters, 2 the summed gradients as
    /// well, 3 also the parameters; one process keeps with 3 only the layers in use at hand.
    /// </summary>
    public int ZeroStage { get; init; }

    /// <summary>
    /// Whether processes sum their gradients after each micro-batch, in the order in which one process would add them, also with stage 0 and 1, where once a
    /// step is enough. Then, over MPI, any number of processes comes to the same bits.
    /// </summary>
    public bool SyncEachBatch { get; init; }

    /// <summary>Where the shares of parameters lie that ZeRO 3 gathers, and where they are updated: gradients and the optimizer's states follow them.</summary>
    public OffloadDevice OffloadParameters { get; init; } = OffloadDevice.None;

    /// <summary>Parameters that are sent at once: a bucket ends at the tensor that brings it to so many elements.</summary>
    public long ReduceBucketSize { get; init; } = 1L << 22;

    /// <summary>ZeRO 3: a layer of at most so many elements is gathered while the one before it computes; 0 for none.</summary>
    public long PrefetchBucketSize { get; init; } = 50_000_000;

    /// <summary>ZeRO 3: tensors of fewer elements, such as norms, are not taken away between uses.</summary>
    public long ParamPersistenceThreshold { get; init; } = 100_000;

    /// <summary>Whether processes compute while parameters and gradients are under way between them.</summary>
    public bool OverlapComm { get; init; } = true;

    /// <summary>Seconds that processes wait for one of them before they all end.</summary>
    public int DdpTimeout { get; init; } = 1800;

    /// <summary>Evaluation examples that the model answers before training and after it, for the report; 0 for none.</summary>
    public int ReportSamples { get; init; } = 3;
}

/// <summary>How the learning rate falls.</summary>
public enum SchedulerType
{
    /// <summary>Half a cosine to zero.</summary>
    Cosine,

    /// <summary>Straight to zero.</summary>
    Linear,

    /// <summary>Not at all.</summary>
    Constant,
}

/// <summary>Where something lies that need not lie on the device which computes.</summary>
public enum OffloadDevice
{
    /// <summary>In the device's memory.</summary>
    None,

    /// <summary>In the host's memory, pinned where the device is a GPU; on the CPU the same as <see cref="None"/>.</summary>
    Cpu,

    /// <summary>In a file of the output folder, which the system pages in and out.</summary>
    Disk,
}

/// <summary>Optimizers.</summary>
public enum OptimizerType
{
    /// <summary>AdamW with float32 states.</summary>
    AdamwTorch,

    /// <summary>AdamW with 8-bit block-wise states (arXiv:2110.02861).</summary>
    Adamw8bit,

    /// <summary>AdamW with float32 states in host memory, paged to the GPU for each step; on the CPU the same as <see cref="AdamwTorch"/>.</summary>
    PagedAdamw32bit,

    /// <summary>AdamW with 8-bit states in host memory, paged to the GPU for each step; on the CPU the same as <see cref="Adamw8bit"/>.</summary>
    PagedAdamw8bit,
}
