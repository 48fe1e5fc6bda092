using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Checkpoints;
using Nibble.Modeling.Decoder;
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
        command.SetAction(result => Merge(
            result.GetValue(model)!, result.GetValue(adapter)!, result.GetValue(folder)!, result.GetValue(onto) ?? "trained"));
        return command;
    }

    private static void Merge(string source, string adapterFolder, string target, string onto)
    {
        bool quantized = WasTrainedInNf4(adapterFolder, out bool doubleQuantize) && onto == "trained";
        using DecoderModel model = ModelLoader.Load(source, new LoadOptions
        {
            DType = ScalarType.Float32,
            QuantizeNf4 = quantized,
            DoubleQuantize = doubleQuantize,
        });
        using IDisposable noGrad = no_grad();
        using LoraAdapter adapter = AdapterFolder.Load(model, adapterFolder);
        CommonOptions.RequireNew(target);
        ScalarType dtype = model.Config.StoredDType ?? ScalarType.Float32;
        ModelWriter.Write(model, source, target, dtype, LoraAdapter.Merged);
        using DecoderModel merged = ModelLoader.Load(target, new LoadOptions { DType = ScalarType.Float32 });
        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{target}: largest logit difference between merged and base + adapter on a sample: {Difference(model, merged):0.0e+0} (weights in {DTypeNames.Of(dtype)})"));
    }

    /// <summary>The run that made an adapter says how its base model was quantised.</summary>
    private static bool WasTrainedInNf4(string adapterFolder, out bool doubleQuantize)
    {
        string path = Path.Combine(adapterFolder, "run.json");
        JsonNode? config = File.Exists(path) ? JsonNode.Parse(File.ReadAllText(path))?["config"] : null;
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
