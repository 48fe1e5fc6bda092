using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Nibble.Cli.Commands.Chat;
using Nibble.Data.Augmentation;

namespace Nibble.Cli.Commands.Data;

/// <summary><c>nibble data augment</c></summary>
internal static class AugmentCommand
{
    private const string Paraphrase = "paraphrase";
    private const string Variations = "variations";

    public static Command Create()
    {
        var source = new DataSource();
        var output = new Option<string>("--out") { Description = "The JSON lines to write, each example followed by those made of it; must be new.", HelpName = "FILE", Required = true };
        var method = new Option<string>("--method") { Description = "paraphrase: three other wordings of each instruction; variations: new examples of the same task.", DefaultValueFactory = _ => Paraphrase };
        method.AcceptOnlyFromAmong(Paraphrase, Variations);
        var count = new Option<int>("--count") { Description = "Variations of each example.", DefaultValueFactory = _ => 3 };
        var asked = new AskedModel();
        var device = CommonOptions.Device();
        var inputPrice = new Option<decimal?>("--input-price") { Description = "What a million tokens given to the model cost." };
        var outputPrice = new Option<decimal?>("--output-price") { Description = "What a million tokens of the model cost." };
        var json = CommonOptions.Json();
        var command = new Command("augment", "Make more examples by asking a model.")
        {
            output, method, count, device, inputPrice, outputPrice, json,
        };
        asked.AddTo(command);
        source.AddTo(command);
        command.SetAction(async (result, cancellation) =>
        {
            string path = result.GetRequiredValue(output);
            DataSource.RequireNew(path);
            if (result.GetValue(count) < 1)
            {
                throw new UsageException($"--count is {result.GetValue(count)}; it must be above 0.");
            }

            var skipped = new SkippedLines();
            var reading = source.Reading(result, skipped);
            using ResilientChatClient client = asked.Connect(result, result.GetRequiredValue(device), $"{path}.cache", cancellation);
            var augmenter = new DataAugmenter(client);
            bool paraphrase = result.GetRequiredValue(method) == Paraphrase;
            int written = await DataAugmentation.RunAsync(
                source.File(result),
                path,
                reading,
                (example, stop) => paraphrase ? augmenter.ParaphraseAsync(example, stop) : augmenter.GenerateVariationsAsync(example, result.GetValue(count), stop),
                asked.Concurrency(result),
                cancellation).ConfigureAwait(false);

            ChatSpending spent = client.Spending;
            decimal? cost = result.GetValue(inputPrice) is null && result.GetValue(outputPrice) is null ? null : spent.Cost(result.GetValue(inputPrice) ?? 0, result.GetValue(outputPrice) ?? 0);
            Console.WriteLine(result.GetValue(json)
                ? JsonSerializer.Serialize(new { written, skipped = skipped.Count, requests = spent.Requests, cached = spent.Cached, input_tokens = spent.InputTokens, output_tokens = spent.OutputTokens, cost })
                : string.Create(CultureInfo.InvariantCulture, $"{written} records written to {path}{skipped}; {spent.Requests} requests, {spent.Cached} from cache, {spent.InputTokens} + {spent.OutputTokens} tokens{(cost is null ? "" : $", cost {cost}")}"));
            return 0;
        });
        return command;
    }
}
