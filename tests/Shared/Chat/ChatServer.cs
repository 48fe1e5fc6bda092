using System.ClientModel;
using System.ClientModel.Primitives;
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Extensions.AI;
using OpenAI;

namespace Nibble.Tests;

/// <summary>A real HTTP server on this machine that speaks OpenAI's protocol, and fails as it is told to.</summary>
internal sealed class ChatServer : IDisposable
{
    private readonly HttpListener listener = new();
    private readonly ConcurrentQueue<Action<HttpListenerResponse>> script = new();
    private readonly Func<string, string> answer;
    private int running;

    /// <param name="answer">From the last message to the reply, where the script says nothing.</param>
    public ChatServer(Func<string, string> answer)
    {
        this.answer = answer;
        using (var probe = new TcpListener(IPAddress.Loopback, 0))
        {
            probe.Start();
            Endpoint = new Uri($"http://127.0.0.1:{((IPEndPoint)probe.LocalEndpoint).Port}/v1");
        }

        listener.Prefixes.Add($"{Endpoint.GetLeftPart(UriPartial.Authority)}/");
        listener.Start();
        _ = Task.Run(ServeAsync);
    }

    public Uri Endpoint { get; }

    public ConcurrentQueue<string> Requests { get; } = new();

    public string? Authorization { get; private set; }

    public int MostAtOnce { get; private set; }

    public TimeSpan Delay { get; set; }

    /// <summary>What the server does with its next requests, in order.</summary>
    public ChatServer Then(Action<HttpListenerResponse> action)
    {
        script.Enqueue(action);
        return this;
    }

    public ChatServer ThenStatus(int status) => Then(response =>
    {
        response.StatusCode = status;
        Send(response, """{"error": {"message": "no", "type": "server_error"}}""");
    });

    public ChatServer ThenSay(string text) => Then(response => Send(response, Completion(text)));

    public ChatServer ThenCut() => Then(response =>
    {
        byte[] body = Encoding.UTF8.GetBytes(Completion("cut off in the middle"));
        response.ContentLength64 = body.Length;
        response.OutputStream.Write(body, 0, body.Length / 2);
        response.OutputStream.Flush();
        response.Abort();
    });

    public ChatServer ThenHang() => Then(response =>
    {
        Thread.Sleep(2000);
        response.Abort();
    });

    /// <summary>The client that users have.</summary>
    public IChatClient Client() => new OpenAI.Chat.ChatClient(
        "test-model", new ApiKeyCredential("secret-key"), new OpenAIClientOptions { Endpoint = Endpoint, RetryPolicy = new ClientRetryPolicy(0) }).AsIChatClient();

    public void Dispose() => listener.Close();

    private async Task ServeAsync()
    {
        while (listener.IsListening)
        {
            try
            {
                HttpListenerContext context = await listener.GetContextAsync();
                _ = Task.Run(() => Serve(context));
            }
            catch (Exception exception) when (exception is HttpListenerException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private void Serve(HttpListenerContext context)
    {
        MostAtOnce = Math.Max(MostAtOnce, Interlocked.Increment(ref running));
        using var reader = new StreamReader(context.Request.InputStream);
        string request = reader.ReadToEnd();
        Requests.Enqueue(request);
        Authorization = context.Request.Headers["Authorization"];
        Thread.Sleep(Delay);
        Interlocked.Decrement(ref running);
        if (script.TryDequeue(out Action<HttpListenerResponse>? action))
        {
            action(context.Response);
            return;
        }

        JsonNode content = JsonNode.Parse(request)!["messages"]!.AsArray()[^1]!["content"]!;
        Send(context.Response, Completion(answer(content is JsonArray parts ? (string)parts[0]!["text"]! : (string)content!)));
    }

    private static string Completion(string text) => JsonSerializer.Serialize(new
    {
        id = "1",
        @object = "chat.completion",
        created = 1,
        model = "test-model",
        choices = new[] { new { index = 0, message = new { role = "assistant", content = text }, finish_reason = "stop" } },
        usage = new { prompt_tokens = 10, completion_tokens = 5, total_tokens = 15 },
    });

    private static void Send(HttpListenerResponse response, string body)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(body);
        response.ContentType = "application/json";
        response.ContentLength64 = bytes.Length;
        response.OutputStream.Write(bytes);
        response.Close();
    }
}
