using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.ChatTemplates;
using Nibble.Modeling.Checkpoints;
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
        var text = new Option<string?>("--prompt") { Description = "The prompt as text." };
        var messages = new Option<string?>("--messages") { Description = "The prompt as a conversation: a JSON list of role and content.", HelpName = "FILE" };
        var ids = new Option<string?>("--input-ids") { Description = "The prompt as token ids, such as 1,2,3." };
        var tokens = new Option<int>("--max-new-tokens") { Description = "Tokens to generate at most.", DefaultValueFactory = _ => 128 };
        var temperature = new Option<double>("--temperature") { Description = "0 takes the likeliest token; higher is more varied." };
        var topK = new Option<int?>("--top-k") { Description = "Sample among this many likeliest tokens." };
        var topP = new Option<double>("--top-p") { Description = "Sample among the likeliest tokens that reach this probability.", DefaultValueFactory = _ => 1 };
        var seed = new Option<ulong>("--seed") { Description = "Decides what sampling draws.", DefaultValueFactory = _ => 42 };
        var stop = new Option<string[]>("--stop") { Description = "End the text before this string; may be given several times.", HelpName = "TEXT" };
        var dtype = CommonOptions.DType();
        var device = CommonOptions.Device();
        var json = CommonOptions.Json();
        var command = new Command("generate", "Continue a prompt.") { model, adapter, text, messages, ids, tokens, temperature, topK, topP, seed, stop, dtype, device, json };
        command.SetAction((result, cancellation) =>
        {
            string folder = result.GetValue(model)!;
            var prompt = new Prompt(folder, result.GetValue(text), result.GetValue(messages), result.GetValue(ids));
            StopStrings? stops = prompt.StopAt(result.GetValue(stop)!);
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
                int[] generated = TextGenerator.Generate(loaded, [prompt.Ids], options, cancellation: cancellation)[0];
                string? decoded = prompt.Tokenizer?.Decode(generated, skipSpecialTokens: true);
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

    /// <summary>The prompt's tokens, from whichever of its forms was given.</summary>
    private sealed class Prompt
    {
        public Prompt(string model, string? text, string? messages, string? ids)
        {
            if (new[] { text, messages, ids }.Count(form => form is not null) != 1)
            {
                throw new UsageException("give the prompt as one of --prompt, --messages and --input-ids.");
            }

            Tokenizer = ids is null || ModelWriter.HasTokenizer(model) ? CommonOptions.Tokenizer(model) : null;
            Ids = ids is not null ? Parse(ids)
                : text is not null ? Tokenizer!.Encode(text, addSpecialTokens: true)
                : Chat(model, messages!);
        }

        public int[] Ids { get; }

        public HfTokenizer? Tokenizer { get; }

        public StopStrings? StopAt(string[] stops) =>
            stops.Length == 0 ? null
            : Tokenizer is null ? throw new UsageException("--stop needs a model folder with a tokenizer.")
            : stops.Contains("") ? throw new UsageException("--stop is empty; it must be a text.")
            : new StopStrings(Tokenizer, stops);

        private int[] Chat(string model, string path)
        {
            string template = Tokenizer!.ChatTemplate ?? throw new InvalidDataException($"{model} has no chat template, which --messages needs.");
            return new ChatEncoder(Tokenizer, ChatTemplate.Parse(template)).EncodeIds(JsonFiles.ReadArray(path), new JsonObject { ["add_generation_prompt"] = true });
        }

        private static int[] Parse(string ids)
        {
            try
            {
                return [.. ids.Split(',').Select(id => int.Parse(id, CultureInfo.InvariantCulture))];
            }
            catch (Exception exception) when (exception is FormatException or OverflowException)
            {
                throw new UsageException($"--input-ids is '{ids}'; it must be whole numbers with commas between.");
            }
        }
    }
}
