using System.ClientModel;
using System.ClientModel.Primitives;
using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Microsoft.Extensions.AI;
using Nibble.Data.Augmentation;
using OpenAI;

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
        var endpoint = new Option<string?>("--endpoint") { Description = "An OpenAI-compatible endpoint, such as http://localhost:8000/v1.", HelpName = "URL" };
        var endpointModel = new Option<string?>("--endpoint-model") { Description = "The model's name at the endpoint.", HelpName = "NAME" };
        var keyVariable = new Option<string>("--api-key-env") { Description = "The environment variable that holds the endpoint's key.", HelpName = "NAME", DefaultValueFactory = _ => "OPENAI_API_KEY" };
        var model = new Option<string?>("--model") { Description = "In place of an endpoint: a model's folder.", HelpName = "DIR" };
        var device = CommonOptions.Device();
        var cache = new Option<string?>("--cache") { Description = "Where replies are kept, so that a rerun costs nothing; by default beside --out.", HelpName = "DIR" };
        var concurrency = new Option<int>("--concurrency") { Description = "Requests at once.", DefaultValueFactory = _ => 4 };
        var inputPrice = new Option<decimal?>("--input-price") { Description = "What a million tokens given to the model cost." };
        var outputPrice = new Option<decimal?>("--output-price") { Description = "What a million tokens of the model cost." };
        var json = CommonOptions.Json();
        var command = new Command("augment", "Make more examples by asking a model.")
        {
            output, method, count, endpoint, endpointModel, keyVariable, model, device, cache, concurrency, inputPrice, outputPrice, json,
        };
        source.AddTo(command);
        command.SetAction(async (result, cancellation) =>
        {
            string path = result.GetRequiredValue(output);
            DataSource.RequireNew(path);
            if (result.GetValue(count) < 1)
            {
                throw new UsageException($"--count is {result.GetValue(count)}; it must be above 0.");
            }

            var skipped = new DataSource.Skipped();
            var reading = source.Reading(result, skipped);
            using IChatClient asked = (result.GetValue(endpoint), result.GetValue(endpointModel), result.GetValue(model)) switch
            {
                ({ } url, { } name, null) => Remote(url, name, result.GetRequiredValue(keyVariable)),
                (null, null, { } folder) => new LocalChatClient(folder, result.GetRequiredValue(device), cancellation),
                _ => throw new UsageException("give --endpoint with --endpoint-model, or --model."),
            };
            using var client = new ResilientChatClient(asked, new ResilienceOptions
            {
                Concurrency = result.GetValue(concurrency),
                CacheFolder = result.GetValue(cache) ?? $"{path}.cache",
                Timeout = result.GetValue(model) is null ? TimeSpan.FromMinutes(2) : Timeout.InfiniteTimeSpan,
                OnRetry = (exception, wait) => Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"again in {wait.TotalSeconds:0.#} s: {exception.Message.ReplaceLineEndings(" ")}")),
                IsTransient = exception => exception is HttpRequestException or IOException or JsonException or ClientResultException { Status: 0 or 408 or 429 or >= 500 },
            });
            var augmenter = new DataAugmenter(client);
            bool paraphrase = result.GetRequiredValue(method) == Paraphrase;
            int written = await DataAugmentation.RunAsync(
                source.File(result),
                path,
                reading,
                (example, stop) => paraphrase ? augmenter.ParaphraseAsync(example, stop) : augmenter.GenerateVariationsAsync(example, result.GetValue(count), stop),
                result.GetValue(concurrency),
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

    private static IChatClient Remote(string endpoint, string model, string keyVariable)
    {
        if (!Uri.TryCreate(endpoint, UriKind.Absolute, out Uri? url) || url.Scheme is not ("http" or "https"))
        {
            throw new UsageException($"--endpoint is '{endpoint}'; it must be a URL that begins with http:// or https://.");
        }

        // Local servers want no key, but the client refuses an empty one. Only ResilientChatClient retries.
        string key = Environment.GetEnvironmentVariable(keyVariable) is { Length: > 0 } given ? given : "none";
        var options = new OpenAIClientOptions { Endpoint = url, RetryPolicy = new ClientRetryPolicy(0), NetworkTimeout = Timeout.InfiniteTimeSpan };
        return new OpenAI.Chat.ChatClient(model, new ApiKeyCredential(key), options).AsIChatClient();
    }
}
