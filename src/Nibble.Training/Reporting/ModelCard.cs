using System.Globalization;
using System.Text;
using Nibble.Training.Configuration;
using Nibble.Training.Prompts;

namespace Nibble.Training.Reporting;

/// <summary>The README.md of an output folder, in the form of Hugging Face's model cards.</summary>
internal static class ModelCard
{
    public static string Write(RunConfig config, PromptFormat format, TrainingResult result)
    {
        CultureInfo culture = CultureInfo.InvariantCulture;
        bool full = config.Method == Method.Full;
        string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(config.OutputDir)));
        var text = new StringBuilder();
        text.AppendLine("---").AppendLine(culture, $"base_model: {config.Model}");
        text.AppendLine(full ? "library_name: transformers" : "library_name: peft").AppendLine("tags:").AppendLine("- nibble");
        text.AppendLine(culture, $"- {ConfigBinder.KeyOf(config.Method.ToString())}").AppendLine("---").AppendLine();
        text.AppendLine(culture, $"# {name}").AppendLine();
        text.AppendLine(full
            ? "All weights of the base model, fine-tuned."
            : "A LoRA adapter; load it with PEFT (`PeftModel.from_pretrained`) or with `nibble generate --adapter`.").AppendLine();
        text.AppendLine("| | |").AppendLine("|---|---|");
        void Row(string key, object? value) => text.AppendLine(culture, $"| {key} | {value} |");
        Row("method", ConfigBinder.KeyOf(config.Method.ToString()));
        Row("compute dtype", config.Dtype);
        Row("training data", config.Data.Train);
        Row("trained on", format);
        Row("steps", result.Steps);
        Row("learning rate", config.Training.LearningRate);
        Row("trained parameters", string.Create(culture, $"{result.TrainableParameters:N0} of {result.TotalParameters:N0}"));
        if (!full)
        {
            Row("rank, alpha", $"{config.Lora.R}, {config.Lora.LoraAlpha.ToString(culture)}");
        }

        if (result.FinalLoss is { } loss)
        {
            Row("final training loss", loss.ToString("0.0000", culture));
        }

        if (result.FinalEvalLoss is { } evalLoss)
        {
            Row("final evaluation loss", evalLoss.ToString("0.0000", culture));
        }

        return text.AppendLine().AppendLine("![loss](loss.png)").ToString();
    }
}
