using System.ClientModel;
using System.ClientModel.Primitives;
using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Microsoft.Extensions.AI;
using Nibble.Data.Augmentation;
using OpenAI;

namespace Nibble.Cli.Commands.Chat;

/// <summary>The model that a command asks questions: an OpenAI-compatible endpoint, or a model of this engine.</summary>
internal sealed class AskedModel
{
    private readonly string prefix;
    private readonly Option<string?> endpoint;
    private readonly Option<string?> endpointModel;
    private readonly Option<string> keyVariable;
    private readonly Option<string?> model;
    private readonly Option<string?> cache;
    private readonly Option<int> concurrency;

    /// <summary>The options of a model that is asked.</summary>
    /// <param name="role">Goes before the options' names where a command knows other models too, such as <c>judge</c>; else empty.</param>
    public AskedModel(string role = "")
    {
        prefix = role.Length == 0 ? "--" : $"--{role}-";
        endpoint = new($"{prefix}endpoint") { Description = "An OpenAI-compatible endpoint, such as http://localhost:8000/v1.", HelpName = "URL" };
        endpointModel = new($"{prefix}endpoint-model") { Description = "The model's name at the endpoint.", HelpName = "NAME" };
        keyVariable = new($"{prefix}api-key-env") { Description = "The environment variable that holds the endpoint's key.", HelpName = "NAME", DefaultValueFactory = _ => "OPENAI_API_KEY" };
        model = new($"{prefix}model") { Description = "In place of an endpoint: a model's folder.", HelpName = "DIR" };
        cache = new($"{prefix}cache") { Description = "Where replies are kept, so that a rerun costs nothing; by default beside --out.", HelpName = "DIR" };
        concurrency = new($"{prefix}concurrency") { Description = "Requests at once.", DefaultValueFactory = _ => 4 };
    }

    /// <summary>Adds the options to a command.</summary>
    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { endpoint, endpointModel, keyVariable, model, cache, concurrency })
        {
            command.Options.Add(option);
        }
    }

    /// <summary>Whether the command line names such a model.</summary>
    public bool IsGiven(ParseResult result) => result.GetValue(endpoint) is not null || result.GetValue(model) is not null;

    /// <summary>Requests at once.</summary>
    public int Concurrency(ParseResult result) => result.GetValue(concurrency);

    /// <summary>A client that waits out what passes.</summary>
    /// <param name="result">The command line.</param>
    /// <param name="device">Where a model of this engine computes.</param>
    /// <param name="defaultCache">Where replies are kept if the user names no place; null: nowhere.</param>
    /// <param name="cancellation">Ends the loading of a model.</param>
    public ResilientChatClient Connect(ParseResult result, string device, string? defaultCache, CancellationToken cancellation)
    {
        bool local = result.GetValue(model) is not null;
        IChatClient asked = (result.GetValue(endpoint), result.GetValue(endpointModel), result.GetValue(model)) switch
        {
            ({ } url, { } name, null) => Remote(url, name, result.GetRequiredValue(keyVariable)),
            (null, null, { } folder) => new LocalChatClient(folder, device, cancellation),
            _ => throw new UsageException($"give {prefix}endpoint with {prefix}endpoint-model, or {prefix}model."),
        };
        return new ResilientChatClient(asked, new ResilienceOptions
        {
            Concurrency = result.GetValue(concurrency),
            CacheFolder = result.GetValue(cache) ?? defaultCache,
            Timeout = local ? Timeout.InfiniteTimeSpan : TimeSpan.FromMinutes(2),
            OnRetry = (exception, wait) => Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"again in {wait.TotalSeconds:0.#} s: {exception.Message.ReplaceLineEndings(" ")}")),
            IsTransient = exception => exception is HttpRequestException or IOException or JsonException or ClientResultException { Status: 0 or 408 or 429 or >= 500 },
        });
    }

    private IChatClient Remote(string url, string name, string variable)
    {
        if (!Uri.TryCreate(url, UriKind.Absolute, out Uri? address) || address.Scheme is not ("http" or "https"))
        {
            throw new UsageException($"{prefix}endpoint is '{url}'; it must be a URL that begins with http:// or https://.");
        }

        // Local servers want no key, but the client refuses an empty one. Only ResilientChatClient retries.
        string key = Environment.GetEnvironmentVariable(variable) is { Length: > 0 } given ? given : "none";
        var options = new OpenAIClientOptions { Endpoint = address, RetryPolicy = new ClientRetryPolicy(0), NetworkTimeout = Timeout.InfiniteTimeSpan };
        return new OpenAI.Chat.ChatClient(name, new ApiKeyCredential(key), options).AsIChatClient();
    }
}
