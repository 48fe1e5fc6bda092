using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Nibble.Modeling.Adapters;
using Nibble.Modeling.Decoder;
using Nibble.Modeling.Generation;

namespace Nibble.Cli.Commands;

/// <summary><c>nibble generate</c></summary>
internal static class GenerateCommand
{
    public static Command Create()
    {
        var model = CommonOptions.Model();
        var adapter = CommonOptions.Adapter();
        var ids = new Option<string?>("--input-ids") { Description = "The prompt as token ids, such as 1,2,3." };
        var tokens = new Option<int>("--max-new-tokens") { Description = "Tokens to generate at most.", DefaultValueFactory = _ => 128 };
        var temperature = new Option<double>("--temperature") { Description = "0 takes the likeliest token; higher is more varied." };
        var topK = new Option<int?>("--top-k") { Description = "Sample among this many likeliest tokens." };
        var topP = new Option<double>("--top-p") { Description = "Sample among the likeliest tokens that reach this probability.", DefaultValueFactory = _ => 1 };
        var seed = new Option<ulong>("--seed") { Description = "Decides what sampling draws.", DefaultValueFactory = _ => 42 };
        var dtype = CommonOptions.DType();
        var json = CommonOptions.Json();
        var command = new Command("generate", "Continue a prompt.") { model, adapter, ids, tokens, temperature, topK, topP, seed, dtype, json };
        command.SetAction((result, cancellation) =>
        {
            var options = new GenerationOptions
            {
                MaxNewTokens = result.GetValue(tokens),
                Temperature = result.GetValue(temperature),
                TopK = result.GetValue(topK),
                TopP = result.GetValue(topP),
                Seed = result.GetValue(seed),
            }.Validated();
            int[] prompt = Prompt(result.GetValue(ids));
            (DecoderModel loaded, LoraAdapter? attached) = CommonOptions.Load(result.GetValue(model)!, result.GetValue(adapter), result.GetValue(dtype));
            using (loaded)
            using (attached)
            {
                int[] generated = TextGenerator.Generate(loaded, [prompt], options, cancellation: cancellation)[0];
                Console.WriteLine(result.GetValue(json) ? JsonSerializer.Serialize(new { ids = generated }) : string.Join(',', generated));
            }

            return Task.FromResult(0);
        });
        return command;
    }

    private static int[] Prompt(string? ids)
    {
        if (ids is null)
        {
            throw new UsageException("a prompt is missing: give --input-ids.");
        }

        try
        {
            return [.. ids.Split(',').Select(id => int.Parse(id, CultureInfo.InvariantCulture))];
        }
        catch (FormatException)
        {
            throw new UsageException($"--input-ids is '{ids}'; it must be whole numbers with commas between.");
        }
    }
}
