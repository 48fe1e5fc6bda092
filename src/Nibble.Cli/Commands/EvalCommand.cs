using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Nibble.Data;
using Nibble.Evaluation;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Decoder;
using Nibble.Training;
using Nibble.Training.Batching;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble eval</c></summary>
internal static class EvalCommand
{
    public static Command Create()
    {
        var model = CommonOptions.Model();
        var adapter = CommonOptions.Adapter();
        var data = new Option<string>("--data") { Description = "Examples: .jsonl or .json.", HelpName = "FILE", Required = true };
        var metrics = new Option<string>("--metrics") { Description = "perplexity", DefaultValueFactory = _ => "perplexity" };
        metrics.AcceptOnlyFromAmong("perplexity");
        var dtype = CommonOptions.DType();
        var json = CommonOptions.Json();
        var command = new Command("eval", "Measure a model on examples.") { model, adapter, data, metrics, dtype, json };
        command.SetAction(result =>
        {
            string folder = result.GetValue(model)!;
            (DecoderModel loaded, LoraAdapter? attached) = CommonOptions.Load(folder, result.GetValue(adapter), result.GetValue(dtype));
            using (loaded)
            using (attached)
            {
                var encoder = new ExampleEncoder(folder, loaded.Config.MaxPositionEmbeddings, loaded.Config.VocabSize);
                List<EncodedExample> examples = encoder.Read(result.GetValue(data)!, DatasetFormat.Auto, new Quiet());
                EvaluationLoss loss = EvaluationLoss.Of(loaded, examples.Chunk(8).Select(EncodedExample.Batch));
                Console.WriteLine(result.GetValue(json)
                    ? JsonSerializer.Serialize(new { perplexity = loss.Perplexity, loss = loss.Mean, tokens = loss.Tokens, examples = examples.Count })
                    : string.Create(CultureInfo.InvariantCulture, $"perplexity {loss.Perplexity:0.0000}, loss {loss.Mean:0.000000} over {loss.Tokens} tokens of {examples.Count} examples"));
            }
        });
        return command;
    }

    private sealed class Quiet : ITrainingObserver;
}
