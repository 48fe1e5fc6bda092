using Nibble.Tests;
using Nibble.Training.Configuration;

namespace Nibble.Training.Tests;

public class ConfigBinderTests
{
    private static readonly string Cli = Path.Combine(Root(), "src", "Nibble.Cli");

    [Theory]
    [InlineData("lora", Method.Lora)]
    [InlineData("qlora", Method.Qlora)]
    [InlineData("full", Method.Full)]
    [InlineData("chat", Method.Qlora)]
    public void Every_example_is_a_valid_configuration(string name, Method method)
    {
        RunConfig config = ConfigBinder.Load(Path.Combine(Cli, "examples", $"{name}.yaml"), []).Validated();
        Assert.Equal(method, config.Method);
    }

    [Fact]
    public void Every_key_and_its_default_are_documented()
    {
        string readme = File.ReadAllText(Path.Combine(Cli, "README.md"));
        string[] keys =
        [
            .. typeof(RunConfig).GetProperties().Where(property => property.CanWrite).SelectMany(property => property.PropertyType.Name.EndsWith("Section", StringComparison.Ordinal)
                ? property.PropertyType.GetProperties().Where(inner => inner.CanWrite) : [property]).Select(property => ConfigBinder.KeyOf(property.Name)),
        ];
        Assert.Equal(67, keys.Length);
        Assert.All(keys, key => Assert.True(readme.Contains($"`{key}`", StringComparison.Ordinal) || readme.Contains($".{key}`", StringComparison.Ordinal), key));
    }

    [Fact]
    public void Overrides_use_the_peers_names_and_come_last()
    {
        RunConfig config = ConfigBinder.Load(
            Path.Combine(Cli, "examples", "qlora.yaml"),
            ["training.adam_beta2=0.98", "quantization.bnb_4bit_use_double_quant=false", "lora.lora_r=4", "lora.target_modules=all-linear", "data.eval=x.jsonl", "training.optim=adamw_torch"]);
        Assert.Equal(0.98, config.Training.AdamBeta2);
        Assert.False(config.Quantization.Bnb4bitUseDoubleQuant);
        Assert.Equal(4, config.Lora.R);
        Assert.Equal(["all-linear"], config.Lora.TargetModules);
        Assert.Equal("x.jsonl", config.Data.Eval);
        Assert.Equal(OptimizerType.AdamwTorch, config.Training.Optim);
    }

    [Theory]
    [InlineData("adamw_torch", OptimizerType.AdamwTorch)]
    [InlineData("adamw_8bit", OptimizerType.Adamw8bit)]
    [InlineData("paged_adamw_32bit", OptimizerType.PagedAdamw32bit)]
    [InlineData("paged_adamw_8bit", OptimizerType.PagedAdamw8bit)]
    public void Optimizers_have_the_peers_names(string name, OptimizerType optimizer) =>
        Assert.Equal(optimizer, ConfigBinder.Load(null, [$"training.optim={name}"]).Training.Optim);

    [Theory]
    [InlineData("training.learning_rat=1", "the nearest is 'training.learning_rate'")]
    [InlineData("training.max_steps=many", "'training.max_steps' is 'many'; it must be a whole number")]
    [InlineData("lora.lora_alpha=nan", "'lora.lora_alpha' is 'nan'; it must be a number")]
    [InlineData("training.num_train_epochs=infinity", "'training.num_train_epochs' is 'infinity'; it must be a number")]
    [InlineData("training.max_grad_norm=1e400", "'training.max_grad_norm' is '1e400'; it must be a number")]
    [InlineData("method=dora", "one of lora, qlora, full")]
    [InlineData("data=3", "must be a mapping")]
    [InlineData("nonsense", "not of the form key=value")]
    [InlineData("learning_rate=1", "the nearest is 'training.learning_rate'")]
    [InlineData("model=null", "'model' is null; it must be a text")]
    [InlineData("seed=null", "'seed' is null; it must be a whole number")]
    [InlineData("lora.target_modules=[null]", "'lora.target_modules' is null; it must be a text")]
    public void Mistakes_are_named_with_what_would_be_right(string assignment, string part)
    {
        var exception = Assert.Throws<ArgumentException>(() => ConfigBinder.Load(null, [assignment]));
        Assert.Contains(part, exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("lora.target_modules=null", "lora.target_modules is empty")]
    [InlineData("lora.bias=all", "lora.bias is 'all'")]
    [InlineData("training.weight_decay=-1", "training.weight_decay is -1")]
    [InlineData("training.adam_epsilon=-1", "training.adam_epsilon is -1")]
    [InlineData("training.eval_steps=-1", "training.eval_steps is -1")]
    [InlineData("training.save_steps=-1", "training.save_steps is -1")]
    [InlineData("training.early_stopping_patience=-1", "training.early_stopping_patience is -1")]
    [InlineData("training.early_stopping_patience=1", "training.early_stopping_patience needs evaluations")]
    public void Values_out_of_range_are_refused_before_anything_is_read(string assignment, string part)
    {
        RunConfig config = ConfigBinder.Load(null, ["model=m", "data.train=a.jsonl", assignment]);
        Assert.Contains(part, Assert.Throws<ArgumentException>(config.Validated).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("training.gradient_accumulation_steps=2", "training.optimizer_in_bwd updates a layer after one micro-batch, but training.gradient_accumulation_steps is 2; set it to 1")]
    [InlineData("training.max_grad_norm=1", "training.optimizer_in_bwd updates a layer before the global norm is known, but training.max_grad_norm is 1; set it to 0")]
    [InlineData("dtype=fp16", "training.optimizer_in_bwd cannot take back the update of a step whose float16 gradients overflow")]
    [InlineData("method=lora", "training.optimizer_in_bwd is for method full")]
    [InlineData("memory_limit=8GiB", "training.optimizer_in_bwd needs layers that are computed again")]
    public void What_an_update_in_the_backward_pass_cannot_know_is_refused(string assignment, string part)
    {
        string[] fits = ["model=m", "data.train=a.jsonl", "method=full", "training.optimizer_in_bwd=true", "training.gradient_accumulation_steps=1", "training.max_grad_norm=0"];
        ConfigBinder.Load(null, fits).Validated();
        Assert.Contains(part, Assert.Throws<ArgumentException>(ConfigBinder.Load(null, [.. fits, assignment]).Validated).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("lora", "bfloat16")]
    [InlineData("full", "float32")]
    [InlineData("full", "float16")]
    public void Weights_without_masters_are_for_full_fine_tuning_in_bfloat16(string method, string dtype)
    {
        RunConfig config = ConfigBinder.Load(null, ["model=m", "data.train=a.jsonl", $"method={method}", $"dtype={dtype}", "training.bf16_stochastic_round=true"]);
        Assert.Contains("training.bf16_stochastic_round is for method full with dtype bfloat16", Assert.Throws<ArgumentException>(config.Validated).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Null_empties_lists_and_what_may_be_absent()
    {
        RunConfig config = ConfigBinder.Load(null, ["lora.modules_to_save=null", "lora.layers_to_transform=[1, 2]", "lora.layers_to_transform=null", "data.eval=null"]);
        Assert.Empty(config.Lora.ModulesToSave);
        Assert.Null(config.Lora.LayersToTransform);
        Assert.Null(config.Data.Eval);
    }

    [Fact]
    public void A_file_that_nests_without_end_is_refused()
    {
        using var folder = new TempFolder();
        File.WriteAllText(folder["deep.yaml"], "model: " + new string('[', 100_000));
        Assert.Contains("nests deeper", Assert.Throws<InvalidDataException>(() => { ConfigBinder.Load(folder["deep.yaml"], []); }).Message, StringComparison.Ordinal);
    }

    private static string Root()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "Core.sln")))
            {
                return folder.FullName;
            }
        }

        throw new DirectoryNotFoundException("The repository's root is not above the tests.");
    }
}
