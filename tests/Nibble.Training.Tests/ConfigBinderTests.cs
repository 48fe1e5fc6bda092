using Nibble.Training.Configuration;

namespace Nibble.Training.Tests;

public class ConfigBinderTests
{
    private static readonly string Cli = Path.Combine(Root(), "src", "Nibble.Cli");

    [Theory]
    [InlineData("lora", Method.Lora)]
    [InlineData("qlora", Method.Qlora)]
    [InlineData("full", Method.Full)]
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
        Assert.Equal(44, keys.Length);
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
    [InlineData("method=dora", "one of lora, qlora, full")]
    [InlineData("data=3", "must be a mapping")]
    [InlineData("nonsense", "not of the form key=value")]
    public void Mistakes_are_named_with_what_would_be_right(string assignment, string part)
    {
        var exception = Assert.Throws<ArgumentException>(() => ConfigBinder.Load(null, [assignment]));
        Assert.Contains(part, exception.Message, StringComparison.Ordinal);
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
