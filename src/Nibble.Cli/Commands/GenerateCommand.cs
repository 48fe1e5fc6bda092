using System.CommandLine;
using System.Text.Json;
using Nibble.Cli.Commands.Prompts;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;
using Nibble.Modeling.Tokenizers;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble generate</c></summary>
internal static class GenerateCommand
{
    public static Command Create()
    {
        var model = CommonOptions.Model();
        var adapter = CommonOptions.Adapter();
        var prompt = new PromptSource();
        var tokens = new Option<int>("--max-new-tokens") { Description = "Tokens to generate at most.", DefaultValueFactory = _ => 128 };
        var temperature = new Option<double>("--temperature") { Description = "0 takes the likeliest token; higher is more varied." };
        var topK = new Option<int?>("--top-k") { Description = "Sample among this many likeliest tokens." };
        var topP = new Option<double>("--top-p") { Description = "Sample among the likeliest tokens that reach this probability.", DefaultValueFactory = _ => 1 };
        var seed = new Option<ulong>("--seed") { Description = "Decides what sampling draws.", DefaultValueFactory = _ => 42 };
        var stop = new Option<string[]>("--stop") { Description = "End the text before this string; may be given several times.", HelpName = "TEXT" };
        var dtype = CommonOptions.DType();
        var device = CommonOptions.Device();
        var json = CommonOptions.Json();
        var command = new Command("generate", "Continue a prompt.") { model, adapter, tokens, temperature, topK, topP, seed, stop, dtype, device, json };
        prompt.AddTo(command);
        command.SetAction((result, cancellation) =>
        {
            string folder = result.GetValue(model)!;
            (int[] ids, HfTokenizer? tokenizer) = prompt.Read(result, folder, result.GetValue(adapter));
            StopStrings? stops = StopAt(result.GetValue(stop)!, tokenizer);
            var options = new GenerationOptions
            {
                MaxNewTokens = result.GetValue(tokens),
                Temperature = result.GetValue(temperature),
                TopK = result.GetValue(topK),
                TopP = result.GetValue(topP),
                Seed = result.GetValue(seed),
                StopWhen = stops is null ? null : stops.Reached,
            }.Validated();
            (DecoderModel loaded, LoraAdapter? attached) = CommonOptions.Load(folder, result.GetValue(adapter), result.GetValue(dtype), result.GetValue(device)!, cancellation);
            using (loaded)
            using (attached)
            {
                int[] generated = TextGenerator.Generate(loaded, [ids], options, cancellation: cancellation)[0];
                string? decoded = tokenizer?.Decode(generated, skipSpecialTokens: true);
                decoded = stops is null ? decoded : stops.Cut(decoded!);
                Console.WriteLine(result.GetValue(json)
                    ? JsonSerializer.Serialize(new { ids = generated, text = decoded }, ReadableJson)
                    : decoded ?? string.Join(',', generated));
            }

            return Task.FromResult(0);
        });
        return command;
    }

    /// <summary>Text as it is, not escaped for HTML.</summary>
    private static readonly JsonSerializerOptions ReadableJson = new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    private static StopStrings? StopAt(string[] stops, HfTokenizer? tokenizer) =>
        stops.Length == 0 ? null
        : tokenizer is null ? throw new UsageException("--stop needs a model folder with a tokenizer.")
        : stops.Contains("") ? throw new UsageException("--stop is empty; it must be a text.")
        : new StopStrings(tokenizer, stops);
}
