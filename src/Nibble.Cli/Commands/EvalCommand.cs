using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Nibble.Data;
using Nibble.Evaluation;
using Nibble.Evaluation.Answering;
using Nibble.Evaluation.Likelihood;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;
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
        var data = new Option<string>("--data") { Description = "Examples: .jsonl, .json, .csv, .tsv (each also .gz) or .parquet.", HelpName = "FILE", Required = true };
        var metrics = new Option<string>("--metrics") { Description = "perplexity, exact_match or both with a comma between.", DefaultValueFactory = _ => "perplexity" };
        var dtype = CommonOptions.DType();
        var device = CommonOptions.Device();
        var json = CommonOptions.Json();
        var command = new Command("eval", "Measure a model on examples.") { model, adapter, data, metrics, dtype, device, json };
        command.SetAction((result, cancellation) =>
        {
            string[] wanted = result.GetValue(metrics)!.Split(',', StringSplitOptions.TrimEntries);
            if (wanted.Except(["perplexity", "exact_match"]).FirstOrDefault() is { } unknown)
            {
                throw new UsageException($"'{unknown}' is no metric; perplexity and exact_match are.");
            }

            string folder = result.GetValue(model)!;
            (DecoderModel loaded, LoraAdapter? attached) = CommonOptions.Load(folder, result.GetValue(adapter), result.GetValue(dtype), result.GetValue(device)!, cancellation);
            using (loaded)
            using (attached)
            {
                var encoder = new ExampleEncoder(folder, loaded.Config.MaxPositionEmbeddings, loaded.Config.VocabSize);
                List<EncodedExample> examples = encoder.Read(result.GetValue(data)!, DatasetFormat.Auto, new Notes());
                var found = new Dictionary<string, object>();
                if (wanted.Contains("perplexity"))
                {
                    EvaluationLoss loss = EvaluationLoss.Of(loaded, examples.Chunk(8).Select(EncodedExample.Batch), cancellation);
                    (found["perplexity"], found["loss"], found["tokens"]) = (loss.Perplexity, loss.Mean, loss.Tokens);
                }

                if (wanted.Contains("exact_match"))
                {
                    HfTokenizer tokenizer = CommonOptions.Tokenizer(folder);
                    EvaluationExample[] questions = [.. examples.Select(example => EvaluationData.Of(example, tokenizer))];
                    var options = new GenerationOptions { MaxNewTokens = examples.Max(example => example.Question().Answer.Length) + 1 };
                    found["exact_match"] = new AnswerGenerator(loaded, tokenizer, options).Answer(questions, cancellation)
                        .Average(item => questions[item.Example].References[0] == item.Answer ? 1 : 0);
                }

                found["examples"] = examples.Count;
                Console.WriteLine(result.GetValue(json)
                    ? JsonSerializer.Serialize(found)
                    : string.Join(", ", found.Select(item => string.Create(CultureInfo.InvariantCulture, $"{item.Key} {item.Value:0.######}"))));
            }

            return Task.FromResult(0);
        });
        return command;
    }

    /// <summary>Says what was read, and what was cut, beside the result.</summary>
    private sealed class Notes : ITrainingObserver
    {
        public void Info(string message) => Console.Error.WriteLine(message);
    }
}
