using System.CommandLine;
using System.Globalization;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Training.Prompts;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble quantize</c></summary>
internal static class QuantizeCommand
{
    public static Command Create()
    {
        var model = CommonOptions.Model();
        var folder = CommonOptions.Out();
        var dtype = CommonOptions.DType();
        var single = new Option<bool>("--no-double-quant") { Description = "Keep the scales in float32." };
        var command = new Command("quantize", "Write a model in NF4, as bitsandbytes stores it.") { model, folder, dtype, single };
        command.SetAction((result, cancellation) =>
        {
            string source = result.GetValue(model)!;
            string target = result.GetValue(folder)!;
            var options = new LoadOptions
            {
                DType = result.GetValue(dtype) is { } name ? DTypeNames.Parse(name) : null,
                QuantizeNf4 = true,
                DoubleQuantize = !result.GetValue(single),
            };
            PromptFormat? prompts = PromptFormat.Read(source);
            CommonOptions.Fill(target, () =>
            {
                using DecoderModel loaded = Progress.Load(source, options, cancellation);
                ModelWriter.WriteQuantized(loaded, source, target);
                prompts?.Save(target);
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{target}: {loaded.WeightBytes / 1048576.0:0.0} MB of weights"));
            });
            return Task.FromResult(0);
        });
        return command;
    }
}
