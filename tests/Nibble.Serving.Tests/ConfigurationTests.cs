using Nibble.Training.Configuration;

namespace Nibble.Serving.Tests;

/// <summary>No key of a configuration may name a file that the service did not resolve.</summary>
public class ConfigurationTests
{
    private static readonly string[] Paths = ["model", "output_dir", "data.train", "data.eval", "data.chat_template", "lora.init_adapter"];

    private static readonly string[] Others =
    [
        "dtype", "device", "memory_limit", "lora.bias", "quantization.bnb_4bit_quant_type", "quantization.bnb_4bit_compute_dtype", "training.eval_extract",
        "training.metric_for_best_model", "training.eval_metrics", "training.freeze", "training.lr_groups", "lora.target_modules", "lora.modules_to_save",
    ];

    [Fact]
    public void Every_text_of_a_configuration_is_known_to_be_a_path_or_not() =>
        Assert.Equal(Paths.Concat(Others).Order(StringComparer.Ordinal), Texts(typeof(RunConfig), "").Order(StringComparer.Ordinal));

    private static IEnumerable<string> Texts(Type section, string path) => section.GetProperties().Where(property => property.CanWrite).SelectMany(property =>
        property.PropertyType == typeof(string) || property.PropertyType == typeof(IReadOnlyList<string>) ? [path + ConfigBinder.KeyOf(property.Name)]
        : property.PropertyType.Name.EndsWith("Section", StringComparison.Ordinal) ? Texts(property.PropertyType, $"{path}{ConfigBinder.KeyOf(property.Name)}.")
        : []);
}
