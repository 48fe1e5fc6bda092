using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
using Nibble.Training.Prompts;
using Nibble.Training.Reporting;
using TorchSharp;
using static TorchSharp.torch;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble merge</c></summary>
internal static class MergeCommand
{
    public static Command Create()
    {
        var model = CommonOptions.Model();
        var adapter = new Option<string>("--adapter") { Description = "The adapter's folder.", HelpName = "DIR", Required = true };
        var folder = CommonOptions.Out();
        var onto = new Option<string?>("--onto")
        {
            Description = "The weights to merge onto: 'trained' (after QLoRA the dequantised ones, the default) or 'original'.",
        };
        onto.AcceptOnlyFromAmong("trained", "original");
        var command = new Command("merge", "Write base model and adapter as one model.") { model, adapter, folder, onto };
        command.SetAction((result, cancellation) =>
        {
            (string source, string target) = (result.GetValue(model)!, result.GetValue(folder)!);
            CommonOptions.Fill(target, () => Merge(source, result.GetValue(adapter)!, target, result.GetValue(onto) ?? "trained", cancellation));
            return Task.FromResult(0);
        });
        return command;
    }

    private static void Merge(string source, string adapterFolder, string target, string onto, CancellationToken cancellation)
    {
        PromptFormat? prompts = PromptFormat.Read(adapterFolder);
        bool quantized = WasTrainedInNf4(adapterFolder, out bool doubleQuantize) && onto == "trained";
        var options = new LoadOptions { DType = ScalarType.Float32, QuantizeNf4 = quantized, DoubleQuantize = doubleQuantize };
        using DecoderModel model = Progress.Load(source, options, cancellation);
        if (model.Config.IsQuantized && onto == "original")
        {
            throw new UsageException($"{source} is stored in NF4, so its original weights are not there; give the folder that it was made from as --model.");
        }

        using IDisposable noGrad = no_grad();
        using LoraAdapter adapter = AdapterFolder.Load(model, adapterFolder);
        ScalarType dtype = model.Config.StoredDType ?? ScalarType.Float32;
        ModelWriter.Write(model, source, target, dtype, LoraAdapter.Merged);
        prompts?.Save(target);
        using DecoderModel merged = Progress.Load(target, new LoadOptions { DType = ScalarType.Float32 }, cancellation);
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{target}: largest logit difference between merged and base + adapter on a sample: {Difference(model, merged):0.0e+0} (weights in {DTypeNames.Of(dtype)})"));
    }

    /// <summary>The run that made an adapter, or has it as a checkpoint, says how its base model was quantised.</summary>
    private static bool WasTrainedInNf4(string adapterFolder, out bool doubleQuantize)
    {
        string? path = new[] { adapterFolder, Path.Combine(adapterFolder, "..") }.Select(folder => Path.Combine(folder, RunManifest.FileName)).FirstOrDefault(File.Exists);
        JsonNode? config = path is null ? null : JsonNode.Parse(File.ReadAllText(path))?["config"];
        doubleQuantize = (bool?)config?["quantization"]?["bnb_4bit_use_double_quant"] ?? true;
        return config?["method"]?.ToString() == "qlora";
    }

    private static float Difference(DecoderModel model, DecoderModel merged)
    {
        using DisposeScope scope = NewDisposeScope();
        int count = Math.Min(64, model.Config.MaxPositionEmbeddings);
        TokenBatch sample = TokenBatch.Of([.. Enumerable.Range(0, count).Select(i => (i * 7919) % model.Config.VocabSize)]);
        return (model.Logits(model.Forward(sample)) - merged.Logits(merged.Forward(sample))).abs().max().item<float>();
    }
}
